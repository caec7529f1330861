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
import { put16, put32 } from '../bytes.ts'
import { pseudo4, pseudo6, sum } from '../checksum.ts'
import type { Packet, Pool } from '../packet.ts'
import type { Conntrack } from './conntrack.ts'
import { TcpState } from './conntrack_tcp.ts'
import { DEFAULT_TTL } from './egress.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { isFour } from './nat_rules.ts'
import * as tcp from './tcp.ts'
import { DST, invert, PORTS, PROTOCOL, SRC, TUPLE_WORDS } from './tuple.ts'

const DATA_OFFSET = 12
const FIVE_WORDS = 5 << 4

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

/** A reset with this tuple; undefined if the pool is exhausted. */
function resetOf(pool: Pool, tuple: Int32Array, sequence: number): Packet | undefined {
  const { mem } = pool
  const four = isFour(tuple)
  const headerBytes = four ? ipv4.HEADER_BYTES : ipv6.HEADER_BYTES
  const packet = pool.alloc(headerBytes + tcp.HEADER_BYTES)
  if (packet === undefined) return undefined
  packet.len = headerBytes + tcp.HEADER_BYTES
  const { head } = packet
  const at = head + headerBytes
  mem.fill(0, head, head + packet.len)
  put32(mem, at, tuple[PORTS]!)
  put32(mem, at + tcp.SEQ, sequence)
  mem[at + DATA_OFFSET] = FIVE_WORDS
  mem[at + tcp.FLAGS] = tcp.Flag.Rst
  const protocol = tuple[PROTOCOL]! & 0xff
  let pseudo: number
  if (four) {
    put32(mem, head + ipv4.SRC, tuple[SRC + 3]!)
    put32(mem, head + ipv4.DST, tuple[DST + 3]!)
    ipv4.putHeader(mem, head, {
      totalBytes: packet.len,
      id: 0,
      fragment: ipv4.DONT_FRAGMENT,
      ttl: DEFAULT_TTL,
      protocol,
    })
    pseudo = pseudo4(mem, head + ipv4.SRC, protocol, tcp.HEADER_BYTES)
  } else {
    for (let i = 0; i < 8; i++) put32(mem, head + ipv6.SRC + 4 * i, tuple[SRC + i]!)
    const fields = { payloadBytes: tcp.HEADER_BYTES, next: protocol, hopLimit: DEFAULT_TTL }
    ipv6.putHeader(mem, head, fields)
    pseudo = pseudo6(mem, head + ipv6.SRC, protocol, tcp.HEADER_BYTES)
  }
  put16(mem, at + tcp.CHECKSUM, ~sum(mem, at, tcp.HEADER_BYTES, pseudo))
  return packet
}
