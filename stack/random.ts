/** xorshift32: the only source of chance below the services. Every run is replayed by its seed. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0 || 0x9e3779b9
  }

  /** 32 random bits, signed. */
  bits(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x
    return x
  }

  /** An integer from 0 to `limit` - 1. */
  below(limit: number): number {
    return (this.bits() >>> 0) % limit
  }

  /** True with probability `pct` in a hundred. */
  chance(pct: number): boolean {
    return pct > 0 && this.bits() >>> 0 < (pct / 100) * 0x1_0000_0000
  }
}
