/**
 * Resets for TCP connections that are forgotten because nothing came for too long. Without them
 * both ends believe in a connection that the next segment will find gone, and hang on it: the
 * router no longer knows whom it was with.
 *
 * ```text
 *   tuple of a flow    A:1 -> B:2           a reset to A, from whom A believes it speaks to: B:2
 *   sequence number    what B has sent last, which is what A expects next (RFC 5961 §3)
 * ```
 * Only for connections that are established and translated: the ends of others find each other.
 */
import type { Packet, Pool } from '../packet.ts'
import type { Conntrack } from './conntrack.ts'
import { TcpState } from './conntrack_tcp.ts'
import { resetOf } from './reset.ts'
import { invert, TUPLE_WORDS } from './tuple.ts'

export interface ExpiryResetsOptions {
  readonly pool: Pool
  /** Whose `expired` is taken over. */
  readonly conntrack: Conntrack
  /** Sends a packet of the node's own, `head` at the IP header. Takes ownership. */
  readonly send: (packet: Packet) => void
}

export class ExpiryResets {
  enabled = false
  readonly #options: ExpiryResetsOptions
  readonly #tuple = new Int32Array(TUPLE_WORDS)
  readonly #other = new Int32Array(TUPLE_WORDS)

  constructor(options: ExpiryResetsOptions) {
    this.#options = options
    options.conntrack.expired = (flow) => this.#expired(flow)
  }

  #expired(flow: number): void {
    const { conntrack } = this.#options
    if (!this.enabled || conntrack.state(flow) !== TcpState.Established) return
    if (!this.#isTranslated(flow)) return
    this.#tell(flow)
    this.#tell(flow ^ 1)
  }

  #isTranslated(flow: number): boolean {
    const { conntrack } = this.#options
    conntrack.loadTuple(flow, this.#tuple)
    invert(this.#tuple, this.#other)
    conntrack.loadTuple(flow ^ 1, this.#tuple)
    return this.#tuple.some((word, i) => word !== this.#other[i])
  }

  /** To the sender of a flow. */
  #tell(flow: number): void {
    const { pool, conntrack, send } = this.#options
    conntrack.loadTuple(flow, this.#tuple)
    invert(this.#tuple, this.#other)
    const packet = resetOf(pool, this.#other, conntrack.nextSequence(flow ^ 1))
    if (packet !== undefined) send(packet)
  }
}
