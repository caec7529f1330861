/** Addresses: who gets which, and what happens at the edges of subnets. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  defaultGateway,
  defaultSubnet,
  fromInteger,
  Subnet,
  toInteger,
} from '../../services/ipam.ts'
import {
  contains,
  formatAddress,
  formatPrefix,
  overlaps,
  type Prefix,
  parseAddress,
  parsePrefix,
} from '../../stack/address.ts'

function subnet(text: string, range?: string): Subnet {
  const options = { subnet: parsePrefix(text) }
  return new Subnet(range === undefined ? options : { ...options, range: parsePrefix(range) })
}

function take(from: Subnet, count: number): string[] {
  return Array.from({ length: count }, (_, i) => formatAddress(from.allocate(`s${i}`)))
}

describe('a subnet', () => {
  it('gives the lowest free address, and again what was given back', () => {
    const front = subnet('10.1.0.0/29')
    front.reserve(parseAddress('10.1.0.1'), 'the gateway')
    front.reserve(parseAddress('10.1.0.3'), 'nas')
    expect(take(front, 3)).toEqual(['10.1.0.2', '10.1.0.4', '10.1.0.5'])
    front.release(parseAddress('10.1.0.4'))
    front.release(parseAddress('10.1.0.2'))
    expect(take(front, 3)).toEqual(['10.1.0.2', '10.1.0.4', '10.1.0.6'])
  })

  it('says what is in use when it is full', () => {
    const front = subnet('10.1.0.0/30')
    front.reserve(parseAddress('10.1.0.1'), 'the gateway')
    take(front, 1)
    expect(front.free).toBe(0n)
    expect(() => front.allocate('sandbox "b"')).toThrow(
      'no address left in 10.1.0.0/30 for sandbox "b": 2 of 2 in use (10.1.0.1 to 10.1.0.2)',
    )
  })

  it('chooses inside its range only, and reserves outside of it', () => {
    const front = subnet('10.1.0.0/24', '10.1.0.128/30')
    front.reserve(parseAddress('10.1.0.7'), 'a')
    expect(front.free).toBe(4n)
    expect(take(front, 4)).toEqual(['10.1.0.128', '10.1.0.129', '10.1.0.130', '10.1.0.131'])
    expect(() => front.allocate('b')).toThrow(/4 of 4 in use \(10.1.0.128 to 10.1.0.131\)/)
    front.release(parseAddress('10.1.0.7'))
    expect(front.free).toBe(0n)
  })

  it('keeps network and broadcast addresses out of a range that touches them', () => {
    const front = subnet('10.1.0.0/30', '10.1.0.0/30')
    expect(take(front, 2)).toEqual(['10.1.0.1', '10.1.0.2'])
  })

  it.each([
    ['10.1.0.0/31', ['10.1.0.0', '10.1.0.1']],
    ['fd00::/127', ['fd00::', 'fd00::1']],
    ['fd00::/126', ['fd00::1', 'fd00::2', 'fd00::3']],
    ['10.1.0.0/30', ['10.1.0.1', '10.1.0.2']],
  ])('%s has the hosts %j', (text, hosts) => {
    const small = subnet(text)
    expect(take(small, hosts.length)).toEqual(hosts)
    expect(() => small.allocate('x')).toThrow(/no address left/)
  })

  it('of 2⁶⁴ addresses costs nothing', () => {
    const wide = subnet('fd00:1::/64')
    expect(take(wide, 3)).toEqual(['fd00:1::1', 'fd00:1::2', 'fd00:1::3'])
    expect(wide.free).toBe(2n ** 64n - 4n)
  })

  it('refuses what is not its own, and what is taken', () => {
    const front = subnet('10.1.0.0/24')
    for (const bad of ['10.1.1.1', '10.1.0.0', '10.1.0.255', 'fd00::1']) {
      expect(() => front.reserve(parseAddress(bad), 'a')).toThrow(/is not a host address of/)
    }
    front.reserve(parseAddress('10.1.0.5'), 'sandbox "a"')
    expect(() => front.reserve(parseAddress('10.1.0.5'), 'b')).toThrow(
      '10.1.0.5 is taken by sandbox "a"',
    )
  })

  it('never gives one address twice, and always the lowest', () => {
    const command = fc.oneof(
      fc.constant({ do: 'allocate' as const }),
      fc.record({ do: fc.constant('release' as const), host: fc.nat(63) }),
      fc.record({ do: fc.constant('reserve' as const), host: fc.nat(63) }),
    )
    fc.assert(
      fc.property(fc.array(command, { maxLength: 120 }), (commands) => {
        const pool = subnet('10.0.0.0/26', '10.0.0.16/28')
        const model = new Set<number>()
        const at = (host: number) => fromInteger(4, 0x0a000000n + BigInt(host))
        for (const step of commands) {
          if (step.do === 'allocate') {
            const wanted = Array.from({ length: 16 }, (_, i) => 16 + i).find((h) => !model.has(h))
            if (wanted === undefined) expect(() => pool.allocate('x')).toThrow(/no address left/)
            else {
              expect(toInteger(pool.allocate('x')) & 63n).toBe(BigInt(wanted))
              model.add(wanted)
            }
          } else if (step.do === 'release') {
            pool.release(at(step.host))
            model.delete(step.host)
          } else if (model.has(step.host) || step.host === 0 || step.host === 63) {
            expect(() => pool.reserve(at(step.host), 'x')).toThrow()
          } else {
            pool.reserve(at(step.host), 'x')
            model.add(step.host)
          }
          const used = [...model].filter((host) => host >= 16 && host < 32).length
          expect(pool.free).toBe(BigInt(16 - used))
        }
      }),
    )
  })
})

describe('integers', () => {
  it('go both ways', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 128n - 1n), (value) => {
        expect(toInteger(fromInteger(6, value))).toBe(value)
        expect(toInteger(fromInteger(4, value & 0xffffffffn))).toBe(value & 0xffffffffn)
      }),
    )
  })
})

describe('a gateway', () => {
  it.each([
    ['10.1.0.0/24', [], '10.1.0.1'],
    ['10.1.0.0/24', ['10.1.0.1', '10.1.0.2'], '10.1.0.3'],
    ['10.1.0.0/31', [], '10.1.0.0'],
    ['fd00::/64', [], 'fd00::1'],
  ])('of %s with %j held back is %s', (text, held, gateway) => {
    const auxiliary = held.map((address) => ({ name: 'x', address: parseAddress(address) }))
    const config = { subnet: parsePrefix(text), gateway: undefined, range: undefined, auxiliary }
    expect(formatAddress(defaultGateway(config))).toBe(gateway)
  })
})

describe('default pools', () => {
  function draw(count: number): Prefix[] {
    const taken: Prefix[] = []
    for (let i = 0; i < count; i++) taken.push(defaultSubnet(4, `t/${i}`, taken))
    return taken
  }

  it("are Docker's: /16s, then /20s, and then a clear error", () => {
    const all = draw(31)
    const text = all.map(formatPrefix)
    expect(text.slice(0, 2)).toEqual(['172.17.0.0/16', '172.18.0.0/16'])
    expect(text.slice(14, 17)).toEqual(['172.31.0.0/16', '192.168.0.0/20', '192.168.16.0/20'])
    expect(text[30]).toBe('192.168.240.0/20')
    expect(() => defaultSubnet(4, 't/x', all)).toThrow(/no default address pool is left/)
  })

  it('step aside for subnets that are given', () => {
    const taken = [parsePrefix('172.16.0.0/14'), parsePrefix('172.20.5.0/24')]
    expect(formatPrefix(defaultSubnet(4, 't/n', taken))).toBe('172.21.0.0/16')
  })

  it('of IPv6 are unique local, follow from the name, and differ by it', () => {
    const local = parsePrefix('fd00::/8')
    const [one, again, other] = ['t/a', 't/a', 't/b'].map((name) => defaultSubnet(6, name, []))
    expect(contains(local, one!.address)).toBe(true)
    expect(formatPrefix(one!)).toBe(formatPrefix(again!))
    expect(overlaps(one!, other!)).toBe(false)
    expect(overlaps(defaultSubnet(6, 't/a', [one!]), one!)).toBe(false)
  })
})
