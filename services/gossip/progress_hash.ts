/**
 * A hash of how far the owners of a table are known, by which two copies are compared: two words,
 * the same for the same progress of the same owners, in whatever order they are taken together.
 */
import type { Progress } from './table_record.ts'

export interface ProgressHash {
  readonly hi: number
  readonly lo: number
}

/** One for each word. */
export const HASH_SEEDS = { hi: 0x811c_9dc5, lo: 0x9e37_79b9 } as const

const FNV_PRIME = 0x0100_0193
const TWO_32 = 0x1_0000_0000

/**
 * A word of one owner's, signed; the hash of a table is the exclusive or of them. FNV-1a over the
 * name, then a multiplication and a shift for each half of the numbers.
 */
export function hashWord({ owner, boot, floor }: Progress, seed: number): number {
  let hash: number = seed
  for (let i = 0; i < owner.length; i++) {
    hash = Math.imul(hash ^ owner.charCodeAt(i), FNV_PRIME)
  }
  return mix(mix(hash, boot), floor)
}

function mix(hash: number, value: number): number {
  let mixed = Math.imul(hash ^ (value % TWO_32), 0x85eb_ca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ Math.floor(value / TWO_32), 0xc2b2_ae35)
  return mixed ^ (mixed >>> 13)
}
