/** What a user of the library may want to name, beside the fabric itself. */
export type { ErrorCode } from '../../stack/errors.ts'
export type { CableFaults } from '../../stack/eth/lane.ts'
export type { Log } from '../log.ts'
export type { Capture } from './capture.ts'
export type {
  EgressRule,
  EndpointOptions,
  HealthcheckOptions,
  IngressRule,
  NetworkOptions,
  PolicyOptions,
  RateOptions,
  RouteOptions,
  SandboxOptions,
  ServiceOptions,
  SubnetOptions,
} from './desired.ts'
export type { ExecOptions, ExecResult, SandboxProcess } from './exec.ts'
export type { FabricAgent, FetchOptions, HttpReply } from './http.ts'
export type { FabricLink, LinkCounts } from './link.ts'
export type { PingOptions, PingReply } from './ping.ts'
export type { Replayed, ReplayOptions } from './replay.ts'
export type { Sandbox } from './sandbox.ts'
export type { FabricStream } from './tcp.ts'
export type { TcpErrorCode } from './tcp_error.ts'
export type { ListenOptions, TcpListener } from './tcp_ports.ts'
export type { Message, ReceiveOptions, SendOptions, SocketError, UdpSocket } from './udp.ts'

/** A network of a fabric. */
export interface FabricNetwork {
  readonly name: string
  remove(): Promise<void>
}

/** A service of a fabric. */
export interface FabricService {
  readonly name: string
  /** Virtual addresses, IPv4 first; none with mode `dnsrr`. */
  readonly vips: readonly string[]
  /** Give a backend nothing new; what it has goes on. @throws StackError `not-found`. */
  drain(backend: string): Promise<void>
  remove(): Promise<void>
}
