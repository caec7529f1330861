import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { ALIASES_MAX, NatRules, type PortMapping } from '../../stack/ip/nat_rules.ts'
import { TUPLE_WORDS } from '../../stack/ip/tuple.ts'
import { mappingOf, Turns } from './nat_lab.ts'

const T4 = '10.1.0.11'
const T6 = 'fd00:1::11'

function to(address: string, port: number, protocol = 6): Int32Array {
  const words = new Int32Array(TUPLE_WORDS)
  const { family, words: destination } = parseAddress(address)
  if (family === 4) words[2] = 0xffff
  else words[0] = 1
  words.set(destination, 4)
  words[8] = (700 << 16) | port
  words[9] = protocol
  return words
}

function at(address: string, port: number, count = 1, target = T4): PortMapping {
  return mappingOf(target, { address: parseAddress(address), port, count })
}

describe('rules of translation', () => {
  it('are found by address, protocol and port', () => {
    const rules = new NatRules()
    const specific = at('203.0.113.2', 80, 10)
    const any = mappingOf(T4, { port: 8000, count: 100 })
    const any6 = mappingOf(T6, { port: 80, count: 10 })
    for (const mapping of [any, specific, any6]) rules.publish(mapping)
    expect(rules.findExact(to('203.0.113.2', 80))?.mapping).toBe(specific)
    expect(rules.findExact(to('203.0.113.2', 89))?.mapping).toBe(specific)
    expect(rules.findExact(to('203.0.113.2', 90))).toBeUndefined()
    expect(rules.findExact(to('203.0.113.2', 79))).toBeUndefined()
    expect(rules.findExact(to('203.0.113.2', 80, 17))).toBeUndefined()
    expect(rules.findExact(to('203.0.113.3', 80))).toBeUndefined()
    expect(rules.findAny(to('203.0.113.3', 8099))?.mapping).toBe(any)
    expect(rules.findAny(to('203.0.113.3', 8100))).toBeUndefined()
    expect(rules.findAny(to('2001:db8::2', 85))?.mapping).toBe(any6)
    expect(rules.findAny(to('2001:db8::2', 8000))).toBeUndefined()
  })

  it('refuse what overlaps, and change nothing', () => {
    const rules = new NatRules()
    rules.publish(at('203.0.113.2', 80, 10))
    rules.publish(at('203.0.113.3', 80, 10))
    const clash = (mapping: PortMapping): void => {
      expect(() => rules.publish(mapping)).toThrow(StackError)
    }
    clash(at('203.0.113.2', 89))
    clash(at('203.0.113.2', 1, 80))
    clash(mappingOf(T4, { port: 85 }))
    expect(() => rules.publish(mappingOf(T4, { port: 75, count: 6 }))).toThrow(
      'ports 75-80/tcp of any IPv4 address: ports 80-89/tcp of 203.0.113.2 is taken',
    )
    expect(rules.count).toBe(2)
    rules.publish(mappingOf(T4, { port: 85, protocol: 17 }))
    rules.publish(mappingOf(T6, { port: 85 }))
    rules.publish(mappingOf(T4, { port: 90 }))
    expect(rules.count).toBe(5)
  })

  it('refuse impossible ports and two families', () => {
    const rules = new NatRules()
    for (const fields of [
      { port: 0 },
      { port: 65_535, count: 2 },
      { targetPort: 65_535, count: 2 },
      { count: 0 },
      { port: 1.5 },
    ]) {
      expect(() => rules.publish(mappingOf(T4, fields))).toThrow(/ports go from 1 to 65535/)
    }
    const mixed = mappingOf(T6, { address: parseAddress('203.0.113.2') })
    expect(() => rules.publish(mixed)).toThrow(/not of one family/)
    expect(rules.count).toBe(0)
  })

  it('know virtual addresses, which published ports may not take', () => {
    const rules = new NatRules()
    const service = {
      protocol: 6,
      address: parseAddress('10.1.0.100'),
      port: 80,
      targetPort: 80,
      balance: new Turns([T4]),
    } as const
    rules.addService(service)
    rules.publish(mappingOf(T4, { port: 80 }))
    expect(rules.isVirtual(to('10.1.0.100', 443, 17))).toBe(true)
    expect(rules.isVirtual(to('10.1.0.101', 80))).toBe(false)
    expect(() => rules.publish(at('10.1.0.100', 80))).toThrow(/is taken/)
    rules.remove(rules.find(service)!)
    expect(rules.isVirtual(to('10.1.0.100', 443))).toBe(false)
    expect(rules.find(service)).toBeUndefined()
  })

  it('leave the ports that a service has not of an address that it shares', () => {
    const rules = new NatRules()
    const address = parseAddress('203.0.113.2')
    const balance = new Turns([T4])
    rules.addService({ protocol: 6, address, port: 80, targetPort: 80, balance, shared: true })
    rules.publish(mappingOf(T4, { port: 81 }))
    expect(rules.isVirtual(to('203.0.113.2', 81))).toBe(false)
    expect(rules.findAny(to('203.0.113.2', 81))).toBeDefined()
    expect(() => rules.publish(mappingOf(T4, { port: 80 }))).toThrow(/is taken/)
  })

  it('lead aliases where the own address of their family leads', () => {
    const rules = new NatRules()
    const own = [parseAddress('203.0.113.2'), parseAddress('2001:db8::2')]
    const exact = rules.publish(at('203.0.113.2', 80))
    const any4 = rules.publish(mappingOf(T4, { port: 81 }))
    const any6 = rules.publish(mappingOf(T6, { port: 81 }))
    rules.setAliases([parseAddress('192.0.2.1'), parseAddress('2001:db8:1::1')], own)
    expect(rules.findAliased(to('192.0.2.1', 80))).toBe(exact)
    expect(rules.findAliased(to('192.0.2.1', 81))).toBe(any4)
    expect(rules.findAliased(to('2001:db8:1::1', 81))).toBe(any6)
    expect(rules.findAliased(to('192.0.2.1', 82))).toBeUndefined()
    expect(rules.findAliased(to('192.0.2.2', 81))).toBeUndefined()
    rules.setAliases([parseAddress('2001:db8:1::1')], own.slice(0, 1))
    expect(rules.findAliased(to('192.0.2.1', 81))).toBeUndefined()
    expect(rules.findAliased(to('2001:db8:1::1', 81))).toBeUndefined()
  })

  it('heed so many aliases and no more', () => {
    const rules = new NatRules()
    rules.publish(mappingOf(T4, { port: 81 }))
    const many = Array.from({ length: ALIASES_MAX + 1 }, (_, i) => parseAddress(`192.0.2.${i}`))
    rules.setAliases(many, [parseAddress('203.0.113.2')])
    expect(rules.findAliased(to(`192.0.2.${ALIASES_MAX - 1}`, 81))).toBeDefined()
    expect(rules.findAliased(to(`192.0.2.${ALIASES_MAX}`, 81))).toBeUndefined()
  })

  it('are removed by an equal mapping', () => {
    const rules = new NatRules()
    rules.publish(at('203.0.113.2', 80, 10))
    expect(rules.find(at('203.0.113.2', 80, 9))).toBeUndefined()
    rules.remove(rules.find(at('203.0.113.2', 80, 10))!)
    expect(rules.count).toBe(0)
    rules.publish(mappingOf(T4, { port: 80 }))
  })

  it('agree with a list that is searched from front to back', () => {
    const addresses = ['203.0.113.2', '203.0.113.3', '10.1.0.1'] as const
    const change = fc.record({
      address: fc.constantFrom(undefined, ...addresses),
      port: fc.integer({ min: 1, max: 60 }),
      count: fc.integer({ min: 1, max: 12 }),
      protocol: fc.constantFrom(6 as const, 17 as const),
      remove: fc.boolean(),
    })
    const property = fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const rules = new NatRules()
      let model: PortMapping[] = []
      for (const { address, port, count, protocol, remove } of changes) {
        if (remove && model.length > 0) {
          const gone = model[port % model.length]!
          rules.remove(rules.find(gone)!)
          model = model.filter((mapping) => mapping !== gone)
          continue
        }
        const own = address === undefined ? undefined : parseAddress(address)
        const mapping = mappingOf(T4, { address: own, port, count, protocol })
        const taken = model.some(
          (other) =>
            other.protocol === protocol &&
            other.port < port + count &&
            port < other.port + other.count &&
            (own === undefined ||
              other.address === undefined ||
              own.words.join() === other.address.words.join()),
        )
        if (taken) expect(() => rules.publish(mapping)).toThrow(/taken/)
        else {
          rules.publish(mapping)
          model.push(mapping)
        }
      }
      expect(rules.count).toBe(model.length)
      for (const address of addresses) {
        for (let port = 1; port < 75; port++) {
          for (const protocol of [6, 17]) {
            const covers = (mapping: PortMapping): boolean =>
              mapping.protocol === protocol &&
              port >= mapping.port &&
              port < mapping.port + mapping.count
            const words = to(address, port, protocol)
            const exact = model.find(
              (mapping) =>
                covers(mapping) &&
                mapping.address?.words.join() === parseAddress(address).words.join(),
            )
            const any = model.find((mapping) => covers(mapping) && mapping.address === undefined)
            expect(rules.findExact(words)?.mapping).toBe(exact)
            expect(rules.findAny(words)?.mapping).toBe(any)
          }
        }
      }
    })
    fc.assert(property, { numRuns: 60 })
  })
})
