/**
 * Rendezvous hashing (Thaler and Ravishankar, 1998), weighted: each backend draws a number from the
 * key and its own identity, and the best draw wins.
 *
 * ```text
 *   score(key, backend) = -ln(u) / weight,   u = hash(key, identity) in (0, 1);   least wins
 * ```
 *
 * Scores are exponential variates with the weights as rates, so the shares are exactly the weights.
 * A backend that goes gives away its own keys only, and one that comes takes only what it keeps.
 * It costs one draw a backend, which is why large tables have maglev.ts in front.
 */
import type { BackendField } from './backend_field.ts'
import { DST, PORTS, PROTOCOL, SRC } from './tuple.ts'

const TWO_32 = 0x1_0000_0000

/** Murmur3's finalizer over two words. */
export function mix(a: number, b: number): number {
  let h = Math.imul(a ^ Math.imul(b, 0x9e37_79b1), 0x85eb_ca6b)
  h ^= h >>> 15
  h = Math.imul(h ^ b, 0xc2b2_ae35)
  h ^= h >>> 13
  h = Math.imul(h, 0x27d4_eb2f)
  return h ^ (h >>> 16)
}

/** A number in (0, 1), never either. */
export function fraction(hash: number): number {
  return ((hash >>> 0) + 0.5) / TWO_32
}

/** Of four words of an address. */
export function hashAddress(words: Int32Array, at: number, seed: number): number {
  let h = seed
  for (let i = 0; i < 4; i++) h = mix(h, words[at + i]!)
  return h
}

/** Of the client of a tuple, whatever its port. */
export function hashClient(tuple: Int32Array): number {
  return hashAddress(tuple, SRC, 0)
}

/** Of a connection: addresses, ports and protocol. */
export function hashConnection(tuple: Int32Array): number {
  const ends = hashAddress(tuple, DST, hashAddress(tuple, SRC, 0))
  return mix(mix(ends, tuple[PORTS]!), tuple[PROTOCOL]! & 0xff)
}

/** The winner for a key among the ready. Precondition: there is one. */
export function rendezvous(field: BackendField, hash: number): number {
  const { ready, readyCount, identities } = field
  let best = ready[0]!
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < readyCount; i++) {
    const backend = ready[i]!
    const score = -Math.log(fraction(mix(hash, identities[backend]!))) / field.weight(backend)
    if (score < least) {
      least = score
      best = backend
    }
  }
  return best
}
