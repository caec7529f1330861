/** A conntrack on a virtual clock, fed with whole IP packets; and the packets of one connection. */
import { expect } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { Conntrack, type ConntrackOptions } from '../../stack/ip/conntrack.ts'
import { TCP_STATE_NAMES } from '../../stack/ip/conntrack_tcp.ts'
import { invert, kindOf, readTuple, TUPLE_WORDS, TupleKind } from '../../stack/ip/tuple.ts'
import { Pool } from '../../stack/packet.ts'
import { tcp } from './lab.ts'

export const CLIENT = '10.1.0.11'
export const SERVER = '198.51.100.9'
export const FIN = 1
export const SYN = 2
export const RST = 4
export const ACK = 16

/** `>` from the client, `<` from the server. */
export type From = '>' | '<'

export interface Segment {
  readonly seq: number
  readonly ack?: number
  readonly bytes?: number
  /** As in the header, before scaling. Default 1000. */
  readonly window?: number
  readonly options?: Uint8Array
  /** IPv4's flags and offset. */
  readonly fragment?: number
}

const TCP_WINDOW = 20 + 14

/** A segment of the connection from port 40000 of the client to port 80 of the server. */
export function segment(from: From, flags: number, fields: Segment): Uint8Array {
  const { seq, ack = 0, bytes = 0, window = 1000, options, fragment = 0 } = fields
  const [source, to] = from === '>' ? [CLIENT, SERVER] : [SERVER, CLIENT]
  const ports = from === '>' ? { from: 40_000, to: 80 } : { from: 80, to: 40_000 }
  const header = { from: source, to, fragment }
  const packet = tcp(
    header,
    { ...ports, flags, seq, ack, ...(options && { options }) },
    new Uint8Array(bytes),
  )
  new DataView(packet.buffer).setUint16(TCP_WINDOW, window)
  return packet
}

export class ConntrackLab {
  readonly pool: Pool = new Pool({ smallCount: 8, largeCount: 2, checked: true })
  readonly clock: VirtualClock = new VirtualClock()
  readonly conntrack: Conntrack
  readonly #words = new Int32Array(TUPLE_WORDS)
  readonly #reply = new Int32Array(TUPLE_WORDS)

  constructor(options: Partial<ConntrackOptions> = {}) {
    const { pool, clock } = this
    this.conntrack = new Conntrack({ pool, clock, seed: 5, entriesMax: 64, ...options })
  }

  /** As nat does it: find, else insert with the inverse for answers; then update. -1: refused. */
  see(ip: Uint8Array): { flow: number; verdict: number } {
    const packet = this.pool.alloc(ip.length)!
    this.pool.mem.set(ip, packet.head)
    packet.len = ip.length
    const end = packet.head + ip.length
    const words = this.#words
    expect(kindOf(readTuple(this.pool.mem, packet.head, end, words))).toBe(TupleKind.Flow)
    let flow = this.conntrack.find(words)
    if (flow < 0) {
      invert(words, this.#reply)
      flow = this.conntrack.insert(words, this.#reply)
    }
    const verdict = flow < 0 ? -1 : this.conntrack.update(flow, packet, packet.head)
    if (verdict > 0 && this.conntrack.packets(flow) + this.conntrack.packets(flow ^ 1) === 0) {
      this.conntrack.remove(flow)
    }
    this.pool.free(packet)
    return { flow, verdict }
  }

  /** A segment of the connection that {@link segment} is about; what became of it. */
  tcp(from: From, flags: number, fields: Segment): number {
    return this.see(segment(from, flags, fields)).verdict
  }

  /** From SYN (sequence numbers 100 and 500) to established; its Original flow. */
  handshake(options?: Uint8Array): number {
    const more = options && { options }
    const { flow } = this.see(segment('>', SYN, { seq: 100, ...more }))
    expect(this.tcp('<', SYN | ACK, { seq: 500, ack: 101, ...more })).toBe(0)
    expect(this.tcp('>', ACK, { seq: 101, ack: 501 })).toBe(0)
    expect(this.state(flow)).toBe('established')
    return flow
  }

  state(flow: number): string {
    return TCP_STATE_NAMES[this.conntrack.state(flow)]!
  }

  /** Let time pass. */
  pass(ms: number): void {
    const until = this.clock.nowMs + ms
    while (this.clock.step(until));
    this.clock.jump(until)
  }
}
