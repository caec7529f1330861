import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Address,
  contains,
  type Family,
  formatPrefix,
  networkOf,
  type Prefix,
  parseAddress,
  parsePrefix,
} from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { Fib, type Route } from '../../stack/ip/fib.ts'
import { Random } from '../../stack/random.ts'

function answer(fib: Fib, address: string): string {
  const id = fib.lookup(parseAddress(address).words, 0)
  return id < 0 ? 'none' : formatPrefix(fib.route(id).prefix)
}

function at(prefix: string, metric = 0): Route {
  return { prefix: parsePrefix(prefix), kind: 'static', link: 0, metric }
}

test('an empty table answers no one', () => {
  expect(answer(new Fib(4), '10.0.0.1')).toBe('none')
  expect(answer(new Fib(6), 'fd00::1')).toBe('none')
})

test('the longest prefix wins, at every length of the trie', () => {
  const fib = new Fib(4)
  const prefixes = ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3/32']
  for (const prefix of prefixes) fib.add(at(prefix))
  expect(answer(fib, '11.0.0.1')).toBe('0.0.0.0/0')
  expect(answer(fib, '10.2.0.1')).toBe('10.0.0.0/8')
  expect(answer(fib, '10.1.3.1')).toBe('10.1.0.0/16')
  expect(answer(fib, '10.1.2.4')).toBe('10.1.2.0/24')
  expect(answer(fib, '10.1.2.3')).toBe('10.1.2.3/32')
  expect(answer(fib, '255.255.255.255')).toBe('0.0.0.0/0')
  fib.remove(parsePrefix('10.1.2.0/24'))
  expect(answer(fib, '10.1.2.4')).toBe('10.1.0.0/16')
  expect(answer(fib, '10.1.2.3')).toBe('10.1.2.3/32')
})

test('IPv6 is matched to its last bit', () => {
  const fib = new Fib(6)
  for (const prefix of ['::/0', 'fd00:1::/64', 'fd00:1::1/128', 'fd00:1::2/127']) {
    fib.add(at(prefix))
  }
  expect(answer(fib, '2001:db8::1')).toBe('::/0')
  expect(answer(fib, 'fd00:1::11')).toBe('fd00:1::/64')
  expect(answer(fib, 'fd00:1::1')).toBe('fd00:1::1/128')
  expect(answer(fib, 'fd00:1::3')).toBe('fd00:1::2/127')
})

test('of several routes of a prefix the best is used, and the next when it goes', () => {
  const fib = new Fib(4)
  const kind = (): string => fib.route(fib.lookup(parseAddress('10.1.0.5').words, 0)).kind
  const metric = (): number => fib.route(fib.lookup(parseAddress('10.1.0.5').words, 0)).metric ?? -1
  fib.add(at('10.1.0.0/24', 20))
  fib.add(at('10.1.0.0/24', 10))
  expect(metric()).toBe(10)
  fib.add({ prefix: parsePrefix('10.1.0.9/24'), kind: 'connected', link: 1 })
  expect(kind()).toBe('connected')
  expect(fib.size).toBe(1)
  expect(fib.list().map((route) => route.metric)).toEqual([0, 10, 20])
  expect(fib.remove(parsePrefix('10.1.0.0/24'), ['connected'])).toBe(true)
  expect(metric()).toBe(10)
  fib.add({ ...at('10.1.0.0/24', 10), kind: 'blackhole' })
  expect(kind()).toBe('blackhole')
  expect(fib.list().length).toBe(2)
  expect(fib.remove(parsePrefix('10.1.0.0/24'))).toBe(true)
  expect(fib.remove(parsePrefix('10.1.0.0/24'))).toBe(false)
  expect(answer(fib, '10.1.0.5')).toBe('none')
})

test('the other family is refused', () => {
  expect(() => new Fib(4).add(at('::/0'))).toThrow(StackError)
})

/** Prefixes and addresses that share bits, so that they cover and shadow each other. */
function near(family: Family): fc.Arbitrary<Prefix> {
  const widths = family === 4 ? 32 : 128
  return fc
    .record({ bits: fc.nat(widths), a: fc.nat(7), b: fc.nat(15), c: fc.nat(255) })
    .map(({ bits, a, b, c }) => {
      const words =
        family === 4
          ? Int32Array.of(0, 0, 0xffff, (a << 29) | (b << 14) | c)
          : Int32Array.of((a << 29) | 0x00f0_0000, b << 28, b, (c << 24) | c)
      return { address: { family, words }, bits }
    })
}

for (const family of [4, 6] as const) {
  test(`family ${family} answers as a list does, through additions and removals`, () => {
    const steps = fc.array(fc.record({ prefix: near(family), add: fc.boolean() }), {
      maxLength: 60,
    })
    fc.assert(
      fc.property(steps, fc.array(near(family), { maxLength: 40 }), (changes, probes) => {
        const fib = new Fib(family)
        const list = new Map<string, Prefix>()
        for (const { prefix, add } of changes) {
          const key = formatPrefix({ address: networkOf(prefix), bits: prefix.bits })
          if (add) {
            list.set(key, prefix)
            fib.add({ prefix, kind: 'static', link: 0 })
          } else {
            expect(fib.remove(prefix)).toBe(list.delete(key))
          }
        }
        const asked = [...probes, ...changes.map(({ prefix }) => prefix)].map((p) => p.address)
        for (const address of asked) expect(found(fib, address)).toBe(naive(list, address))
        for (const prefix of list.values()) fib.remove(prefix)
        for (const address of asked) expect(fib.lookup(address.words, 0)).toBe(-1)
      }),
      { numRuns: 300 },
    )
  })
}

function found(fib: Fib, address: Address): string {
  const id = fib.lookup(address.words, 0)
  return id < 0 ? 'none' : formatPrefix(fib.route(id).prefix)
}

function naive(list: Map<string, Prefix>, address: Address): string {
  let best: Prefix | undefined
  for (const prefix of list.values()) {
    if (contains(prefix, address) && prefix.bits >= (best?.bits ?? 0)) best = prefix
  }
  return best ? formatPrefix({ address: networkOf(best), bits: best.bits }) : 'none'
}

test('100,000 routes go in, answer as a list does, and come out, in a few seconds', () => {
  const random = new Random(11)
  const fib = new Fib(4)
  const prefixes = new Map<string, Prefix>()
  while (prefixes.size < 100_000) {
    const words = Int32Array.of(0, 0, 0xffff, random.bits())
    const bits = 8 + random.below(25)
    const prefix = { address: networkOf({ address: { family: 4, words }, bits }), bits }
    prefixes.set(`${prefix.address.words[3]}/${bits}`, prefix)
  }
  const all = [...prefixes.values()]
  for (const prefix of all) fib.add({ prefix, kind: 'static', link: 0 })
  expect(fib.size).toBe(100_000)
  const byLength = Array.from({ length: 33 }, () => new Set<number>())
  for (const { address, bits } of all) byLength[bits]!.add(address.words[3]!)
  const longest = (word: number): number => {
    for (let bits = 32; bits >= 0; bits--) {
      if (byLength[bits]!.has(bits === 0 ? 0 : word & (-1 << (32 - bits)))) return bits
    }
    return -1
  }
  const words = Int32Array.of(0, 0, 0xffff, 0)
  let wrong = 0
  for (let i = 0; i < 50_000; i++) {
    const near = all[random.below(all.length)]!.address.words[3]!
    words[3] = i % 2 === 0 ? random.bits() : near | (random.bits() >>> 24)
    const id = fib.lookup(words, 0)
    const bits = id < 0 ? -1 : fib.route(id).prefix.bits
    if (bits !== longest(words[3])) wrong++
  }
  expect(wrong).toBe(0)
  for (const prefix of all) fib.remove(prefix)
  expect(all.filter(({ address }) => fib.lookup(address.words, 0) !== -1)).toEqual([])
})
