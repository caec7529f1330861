/**
 * The seam between gossip and the network: datagrams and streams, by sockets of the host
 * (node_transport.ts) or in memory on virtual time (memory_transport.ts). One suite tests both.
 *
 * Datagrams may be lost, and none is reported as lost. A stream is reliable and ordered; what is
 * written before it is open goes out when it is. Its end comes exactly once, by `onClose`,
 * whichever side caused it.
 */
import type { Address } from '../../stack/address.ts'
import type { StackError } from '../../stack/errors.ts'

export interface StreamHandlers {
  /** The octets may be kept. */
  onData(bytes: Uint8Array): void
  /** Nothing comes any more. With an error: it could not be opened, or broke. */
  onClose(error?: StackError): void
}

export interface GossipStream {
  write(bytes: Uint8Array): void
  /** Nothing more from this side. What was written is still delivered. */
  end(): void
  /** Drop it. `onClose` follows, if it has not been called. Idempotent. */
  destroy(): void
}

export interface TransportHandlers {
  /** The octets may be kept. */
  onDatagram(bytes: Uint8Array, address: Address, port: number): void
  /** Another side, at this address, opened a stream. */
  onStream(stream: GossipStream, from: Address): StreamHandlers
}

export interface Transport {
  readonly address: Address
  readonly port: number
  /** Receive from now on. Called once. */
  start(handlers: TransportHandlers): void
  /** Precondition: at most 64 KB less headers. */
  sendDatagram(address: Address, port: number, bytes: Uint8Array): void
  dial(address: Address, port: number, handlers: StreamHandlers): GossipStream
  /** No handler is called after it. Idempotent. */
  close(): Promise<void>
}
