/** The two ciphers of encrypted tunnels beside each other, octet by octet. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nodeCipher } from '../../services/overlay/seal_keys.ts'
import { mapSlab } from '../../stack/native/slab.ts'
import { findGcm } from '../../stack/vxlan/gcm.ts'
import { HEADER_BYTES, NONCE_BYTES, putHeader, TAG_BYTES } from '../../stack/vxlan/seal.ts'

const makeNative = findGcm()!
const KEY = Uint8Array.from({ length: 32 }, (_, i) => i * 7)
const IV = Uint8Array.from({ length: NONCE_BYTES }, (_, i) => 200 - i)
/** Where header and frame are in each memory. */
const HEADER = 100
const FRAME = HEADER + HEADER_BYTES
const MEM_BYTES = 4096

const octets = (bytes: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes })

function memory(number: number, frame: Uint8Array): Uint8Array {
  const { bytes: mem } = mapSlab(MEM_BYTES)
  putHeader(mem, HEADER, { keyId: 5, vni: 4097, epoch: { hi: 1, lo: 2 }, number })
  mem.set(frame, FRAME)
  return mem
}

describe('AES-256-GCM in packet memory', () => {
  it('seals as node:crypto does, and each opens what the other sealed', () => {
    const cases = fc.record({
      key: octets(32),
      iv: octets(NONCE_BYTES),
      number: fc.maxSafeNat(),
      frame: fc.uint8Array({ maxLength: 2000 }),
      shift: fc.integer({ min: 0, max: 40 }),
    })
    fc.assert(
      fc.property(cases, ({ key, iv, number, frame, shift }) => {
        const native = makeNative(key, iv)
        const node = nodeCipher(key, iv)
        const mine = memory(number, frame)
        const theirs = memory(number, frame)
        native.seal(mine, HEADER, FRAME, frame.length)
        node.seal(theirs, HEADER, FRAME, frame.length)
        expect(Buffer.compare(mine, theirs)).toBe(0)
        const to = FRAME - shift
        expect(native.open(theirs, HEADER, FRAME, frame.length, to)).toBe(true)
        expect(node.open(mine, HEADER, FRAME, frame.length, to)).toBe(true)
        for (const mem of [theirs, mine]) {
          expect(Buffer.compare(mem.subarray(to, to + frame.length), frame)).toBe(0)
        }
      }),
      { numRuns: 200 },
    )
  })

  it('takes keys in turn, and tells one from another', () => {
    const other = Uint8Array.from(KEY, (octet) => octet ^ 1)
    const ciphers = [makeNative(KEY, IV), makeNative(other, IV)]
    for (let i = 0; i < 8; i++) {
      const mem = memory(i, KEY)
      const sealed = (): Uint8Array => mem.slice()
      ciphers[i & 1]!.seal(mem, HEADER, FRAME, KEY.length)
      expect(ciphers[~i & 1]!.open(sealed(), HEADER, FRAME, KEY.length, FRAME)).toBe(false)
      expect(ciphers[i & 1]!.open(sealed(), HEADER, FRAME, KEY.length, FRAME)).toBe(true)
    }
  })

  it('refuses every octet that is changed, and goes on', () => {
    const cipher = makeNative(KEY, IV)
    const good = memory(9, KEY)
    cipher.seal(good, HEADER, FRAME, KEY.length)
    for (let at = HEADER; at < FRAME + KEY.length + TAG_BYTES; at++) {
      const bad = good.slice()
      bad[at]! ^= 0x10
      const before = bad.slice(0, FRAME)
      expect(cipher.open(bad, HEADER, FRAME, KEY.length, FRAME - 8), `${at}`).toBe(false)
      expect(bad.subarray(0, FRAME)).toEqual(before)
    }
    expect(cipher.open(good, HEADER, FRAME, KEY.length, FRAME - 8)).toBe(true)
  })
})
