/** Backends with a clock, and tuples of clients that never existed. */
import { ipv4 } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Backends } from '../../stack/ip/backends.ts'
import type { BackendSpec, BalanceSettings } from '../../stack/ip/balance.ts'
import { DST, PORTS, PROTOCOL, SRC, TUPLE_WORDS } from '../../stack/ip/tuple.ts'
import { Random } from '../../stack/random.ts'

const MAPPED = 0xffff

/** A TCP connection of a client, by number, to 10.0.0.1:80. */
export function tupleOf(client: number, port = 5000): Int32Array {
  const tuple = new Int32Array(TUPLE_WORDS)
  tuple[SRC + 2] = MAPPED
  tuple[SRC + 3] = 0x0a09_0000 + client
  tuple[DST + 2] = MAPPED
  tuple[DST + 3] = 0x0a00_0001
  tuple[PORTS] = (port << 16) | 80
  tuple[PROTOCOL] = 6
  return tuple
}

export class BalanceLab {
  readonly clock: VirtualClock = new VirtualClock()
  readonly backends: Backends
  readonly #random = new Random(3)

  constructor(settings: Partial<BalanceSettings>) {
    const { clock } = this
    const defaults = { scheduler: 'rr', affinityMs: 0, slowStartMs: 0 } as const
    this.backends = new Backends({ clock, seed: 1, ...defaults, ...settings })
  }

  add(host: number, weight = 1, spec: Partial<BackendSpec> = {}): number {
    return this.backends.add({ address: ipv4(0x0a01_0000 + host), weight, up: true, ...spec })
  }

  /** As many as there are weights. */
  addAll(weights: readonly number[]): void {
    for (const [i, weight] of weights.entries()) this.add(i + 1, weight)
  }

  pick(tuple: Int32Array = this.anyone()): number {
    return this.backends.pick(tuple, this.clock.nowMs)
  }

  /** A connection that begins. */
  open(tuple: Int32Array = this.anyone()): number {
    const backend = this.pick(tuple)
    if (backend >= 0) this.backends.opened(backend)
    return backend
  }

  /** A connection that begins and ends well. */
  visit(tuple: Int32Array = this.anyone()): number {
    const backend = this.open(tuple)
    if (backend >= 0) this.end(backend)
    return backend
  }

  /** A connection ends, and is forgotten. */
  end(backend: number): void {
    this.backends.closed(backend)
    this.backends.forgotten(backend)
  }

  /** Visits by backend. */
  shares(visits: number): number[] {
    const counts: number[] = []
    for (let i = 0; i < visits; i++) {
      const backend = this.visit()
      counts[backend] = (counts[backend] ?? 0) + 1
    }
    return Array.from(counts, (count) => count ?? 0)
  }

  fail(backend: number, times: number): void {
    for (let i = 0; i < times; i++) {
      this.backends.opened(backend)
      this.backends.failed(backend)
      this.end(backend)
    }
  }

  pass(ms: number): void {
    this.clock.jump(this.clock.nowMs + ms)
  }

  anyone(): Int32Array {
    return tupleOf(this.#random.below(1 << 24), this.#random.below(1 << 16))
  }
}
