import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { latinAt, textAt } from '../../../services/gossip/texts.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true })

function decoded(octets: Uint8Array): string | undefined {
  try {
    return utf8.decode(octets)
  } catch {
    return undefined
  }
}

/** Octets in the middle of others, as in a message. */
function within(octets: Uint8Array): [Uint8Array, number, number] {
  const mem = new Uint8Array(octets.length + 7).fill(0xa5)
  mem.set(octets, 3)
  return [mem, 3, 3 + octets.length]
}

const octets = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 20 }).map((text) => new TextEncoder().encode(text)),
  // Few letters: the same texts again, and others of the same length.
  fc
    .array(fc.constantFrom(0, 0x61, 0x62, 0x7f, 0x80, 0xff), { maxLength: 6 })
    .map((list) => Uint8Array.from(list)),
)

describe('texts', () => {
  it('are what their octets say, seen before or not', () => {
    fc.assert(
      fc.property(octets, (some) => {
        for (let i = 0; i < 2; i++) {
          expect(textAt(...within(some))).toBe(decoded(some))
          expect(latinAt(...within(some))).toBe(Buffer.from(some).toString('latin1'))
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('stay right when there are more than places for them', () => {
    const wrong: string[] = []
    for (let i = 0; i < 60_000; i++) {
      const name = `node-${i % 20_000}`
      if (textAt(...within(Buffer.from(name))) !== name) wrong.push(name)
    }
    expect(wrong).toEqual([])
  })
})
