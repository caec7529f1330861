/** What a user of the library may want to name, beside the fabric itself. */
export type { CableFaults } from '../../stack/eth/lane.ts'
export type { Capture } from './capture.ts'
export type {
  EgressRule,
  EndpointOptions,
  HealthcheckOptions,
  IngressRule,
  NetworkOptions,
  PolicyOptions,
  RateOptions,
  SandboxOptions,
  ServiceOptions,
} from './desired.ts'
export type { ExecOptions, ExecResult, SandboxProcess } from './exec.ts'
export type { FabricAgent, FetchOptions, HttpReply } from './http.ts'
export type { FabricLink } from './link.ts'
export type { PingError, PingOptions, PingReply } from './ping.ts'
export type { Sandbox } from './sandbox.ts'
export type { FabricStream } from './tcp.ts'
export type { TcpError } from './tcp_error.ts'
export type { TcpListener } from './tcp_ports.ts'
export type { Message, SendOptions, SocketError, UdpSocket } from './udp.ts'
