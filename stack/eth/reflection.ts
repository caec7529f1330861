/**
 * Frames of our own stations that come back from outside: from a switch that reflects them (IEEE
 * 802.1Qbg, "reflective relay"), from a loop, or from somebody who borrows their addresses.
 *
 * ```text
 *   parent -> refuseOwn -> bridge                 modes bridge, private, passthru: none is let in
 *   parent -> bridge -> refuseEcho -> endpoint    mode vepa: all are, but not to whom they are from
 * ```
 */
import { i32, u16 } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import type { Output, Pool } from '../packet.ts'
import { HEADER_BYTES, SRC } from './frame.ts'
import type { Mac } from './mac.ts'

/** Stations of one parent; some dozen, so that a walk is quicker than a table. */
export class OwnStations {
  /** Pairs of words. */
  #words = new Int32Array(0)

  /** Exchange them. */
  set(stations: readonly Mac[]): void {
    this.#words = Int32Array.from(stations.flatMap(({ hi, lo }) => [hi, lo]))
  }

  /** `lo` is a signed word. */
  has(hi: number, lo: number): boolean {
    const words = this.#words
    for (let i = 0; i < words.length; i += 2) {
      if (words[i + 1] === lo && words[i] === hi) return true
    }
    return false
  }
}

/** Drops what has the source of an own station. What is too short for one passes. */
export function refuseOwn(pool: Pool, own: OwnStations, next: Output): Output {
  const { mem } = pool
  return (packet) => {
    const source = packet.head + SRC
    if (packet.len >= HEADER_BYTES && own.has(u16(mem, source), i32(mem, source + 2))) {
      return pool.drop(packet, DropReason.Reflected)
    }
    next(packet)
  }
}

/** Drops what `station` sent itself. */
export function refuseEcho(pool: Pool, station: Mac, next: Output): Output {
  const { mem } = pool
  const { hi, lo } = station
  const low = lo | 0
  return (packet) => {
    const source = packet.head + SRC
    if (i32(mem, source + 2) === low && u16(mem, source) === hi) {
      return pool.drop(packet, DropReason.Reflected)
    }
    next(packet)
  }
}
