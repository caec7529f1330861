/**
 * The seam between the name service and the machine under it: sockets to forwarders, the host's
 * own resolvers, addresses inside sandboxes. The kernel's (kernel_host.ts), or memory in tests.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import type { Cancel } from '../../stack/clock.ts'

/** A resolver that is asked. */
export interface Server {
  readonly address: Address
  readonly port: number
  /** Where it is asked from, as in {@link LinkRequest}; undefined: from the process's own. */
  readonly netns: string | undefined
}

/** What a socket to a forwarder tells. Nothing more after it was closed. */
export interface ServerListener {
  heard(message: Uint8Array): void
  failed(why: string): void
}

export interface ServerSocket {
  send(message: Uint8Array): void
  /** Idempotent. */
  close(): void
}

/** The host's /etc/resolv.conf. */
export interface HostResolvers {
  readonly servers: readonly Address[]
  readonly search: readonly string[]
}

/** Where a client inside a sandbox waits for its answer. */
export interface LoopbackClient {
  /** Largest answer; more than UDP takes: it came by TCP. */
  readonly isStream: boolean
  reply(message: Uint8Array): void
}

/** Told of what is asked at an address inside a sandbox. */
export type LoopbackListener = (message: Uint8Array, client: LoopbackClient) => void

export interface DnsHost {
  /** 16 bits that nobody can guess. */
  random16(): number
  /** A socket from a port of its own that hears this server only. */
  udp(server: Server, listener: ServerListener): ServerSocket
  /** One question by a connection of its own; `heard` is told once. */
  tcp(server: Server, listener: ServerListener): ServerSocket
  /** As it is now. */
  resolvers(): HostResolvers
  /** `changed` is told when {@link resolvers} may say something else. Left out: it never does. */
  watchResolvers?(changed: () => void): Cancel
  /**
   * Hear queries at 127.0.0.11, UDP and TCP, inside a network namespace, until that goes: then
   * `gone` is told. Left out: there are none. @throws StackError.
   */
  listen?(netns: string, listener: LoopbackListener, gone: () => void): Cancel
  /** Say which resolvers a namespace has that we made; undefined: say it no more. */
  setResolvConf?(netns: string, text: string | undefined): void
}

/** `192.0.2.53`, `192.0.2.53:5353`, `[2001:db8::53]:5353`, with the namespace if it has one. */
export function formatServer({ address, port, netns }: Server): string {
  const text = formatAddress(address)
  const host = port === 53 ? text : `${address.family === 6 ? `[${text}]` : text}:${port}`
  return netns === undefined ? host : `${host} from ${netns}`
}
