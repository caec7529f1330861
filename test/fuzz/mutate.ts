/**
 * A seeded mutator of frames: what hardware, bugs and attackers do to them. It knows no protocol,
 * but it knows where length, type and offset fields tend to be: near the start.
 */
import type { Random } from '../../stack/random.ts'
import type { FrameFacts } from '../conformance/device.ts'
import type { Frame } from './corpus.ts'

/** Values at which comparisons and shifts go wrong. */
const EDGES = [0, 1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 16, 20, 39, 40, 63, 64, 127, 128, 254, 255]
const EDGES16 = [
  0, 1, 7, 8, 20, 28, 1499, 1500, 1501, 0x1fff, 0x2000, 0x3fff, 0x7fff, 0x8000, 0xffff,
]
/** Headers lie here: most changes are made in front of this. */
const HEADERS_BYTES = 90
const FRAME_MAX_BYTES = 65_700

/** A changed copy of `frame`; parts of `other` may be in it. */
export function mutate(random: Random, frame: Frame, other: Frame): Frame {
  let bytes: Uint8Array = Uint8Array.from(frame.bytes)
  let { facts } = frame
  const rounds = 1 + random.below(4)
  for (let i = 0; i < rounds; i++) {
    if (random.chance(8)) facts = mutateFacts(random, facts)
    else bytes = mutateBytes(random, bytes, other.bytes)
  }
  return { what: `mutated ${frame.what}`, bytes: bytes.subarray(0, FRAME_MAX_BYTES), facts }
}

function place(random: Random, bytes: Uint8Array): number {
  const near = random.chance(85) ? Math.min(bytes.length, HEADERS_BYTES) : bytes.length
  return random.below(Math.max(1, near))
}

function mutateBytes(random: Random, bytes: Uint8Array, other: Uint8Array): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(random.bits())
  const at = place(random, bytes)
  switch (random.below(9)) {
    case 0:
      bytes[at]! ^= 1 << random.below(8)
      return bytes
    case 1:
      bytes[at] = EDGES[random.below(EDGES.length)]!
      return bytes
    case 2:
      bytes[at] = random.bits()
      return bytes
    case 3: {
      const value = EDGES16[random.below(EDGES16.length)]!
      bytes[at] = value >> 8
      if (at + 1 < bytes.length) bytes[at + 1] = value
      return bytes
    }
    case 4:
      return bytes.slice(0, at)
    case 5: {
      const more = new Uint8Array(bytes.length + random.below(200))
      more.set(bytes)
      return more
    }
    case 6: {
      // The start of one frame and the end of another.
      const from = place(random, other)
      return Uint8Array.from([...bytes.subarray(0, at), ...other.subarray(from)])
    }
    case 7: {
      const from = place(random, bytes)
      const copied = bytes.slice(from, from + 1 + random.below(16))
      bytes.set(copied.subarray(0, bytes.length - at), at)
      return bytes
    }
    default: {
      // An octet more or less: everything behind moves.
      if (random.chance(50))
        return Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at + 1)])
      return Uint8Array.from([
        ...bytes.subarray(0, at),
        random.bits() & 0xff,
        ...bytes.subarray(at),
      ])
    }
  }
}

function mutateFacts(random: Random, facts: FrameFacts): FrameFacts {
  const value = EDGES16[random.below(EDGES16.length)]!
  switch (random.below(4)) {
    case 0:
      return { ...facts, gsoType: [0, 1, 3, 4, 5, 0x80][random.below(6)]! }
    case 1:
      return { ...facts, gsoSize: value }
    case 2:
      return { ...facts, csumStart: random.below(120) }
    default:
      return { ...facts, csumOffset: random.chance(50) ? random.below(40) : value }
  }
}

/** Octets without any sense. */
export function garbage(random: Random): Frame {
  const bytes = Uint8Array.from({ length: random.below(200) }, () => random.bits())
  return { what: 'garbage', bytes, facts: { gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 } }
}
