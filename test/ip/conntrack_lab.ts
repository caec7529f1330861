/** A conntrack on a virtual clock, fed with whole IP packets. */
import { expect } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { Conntrack, type ConntrackOptions } from '../../stack/ip/conntrack.ts'
import { TCP_STATE_NAMES } from '../../stack/ip/conntrack_tcp.ts'
import { invert, kindOf, readTuple, TUPLE_WORDS, TupleKind } from '../../stack/ip/tuple.ts'
import { Pool } from '../../stack/packet.ts'

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

  state(flow: number): string {
    return TCP_STATE_NAMES[this.conntrack.state(flow)]!
  }
}
