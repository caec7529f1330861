/**
 * The hash of every table here: Murmur3's mixing over 32-bit words. The seed makes collisions
 * unpredictable to whoever chooses the keys.
 */
export function hashWords(words: Int32Array, at: number, count: number, seed: number): number {
  let h = seed
  for (let i = 0; i < count; i++) {
    let k = Math.imul(words[at + i]!, 0xcc9e2d51)
    k = (k << 15) | (k >>> 17)
    h ^= Math.imul(k, 0x1b873593)
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
  }
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return h ^ (h >>> 16)
}
