/** The grammar of published ports: all of it, what is refused, and what gets in whose way. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  formatPort,
  formatPublished,
  longPort,
  type PortConfig,
  parsePort,
  portsClash,
} from '../../services/ports.ts'
import { formatAddress, fromBytes, parseAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'

function plain({ address, ...port }: PortConfig): object {
  return { ...port, address: address && formatAddress(address) }
}

function refusal(written: string): string {
  try {
    parsePort(written)
  } catch (error) {
    expect(error).toBeInstanceOf(StackError)
    return (error as StackError).message
  }
  throw new Error(`${written} was taken`)
}

describe('the short form', () => {
  it.each([
    ['8080:80', { port: 8080, count: 1, targetPort: 80, protocol: 'tcp' }],
    ['80', { port: undefined, count: 1, targetPort: 80, protocol: 'tcp' }],
    ['3000-3005', { port: undefined, count: 6, targetPort: 3000, protocol: 'tcp' }],
    ['53:53/udp', { port: 53, count: 1, targetPort: 53, protocol: 'udp' }],
    ['1:65535/SCTP', { port: 1, count: 1, targetPort: 65535, protocol: 'sctp' }],
    ['9090-9091:8080-8081', { port: 9090, count: 2, targetPort: 8080, protocol: 'tcp' }],
    ['8000-8010:80', { port: undefined, among: { first: 8000, last: 8010 }, targetPort: 80 }],
    ['127.0.0.1:8001:8001', { address: '127.0.0.1', port: 8001, count: 1, targetPort: 8001 }],
    ['127.0.0.1::80', { address: '127.0.0.1', port: undefined, count: 1, targetPort: 80 }],
    [
      '203.0.113.2:5000-5010:6000-6010/udp',
      { address: '203.0.113.2', port: 5000, count: 11, targetPort: 6000, protocol: 'udp' },
    ],
    ['[2001:db8::2]:8080:80', { address: '2001:db8::2', port: 8080, targetPort: 80 }],
    ['[::]:53:53/udp', { address: '::', port: 53, targetPort: 53, protocol: 'udp' }],
    ['[::1]::80', { address: '::1', port: undefined, targetPort: 80 }],
  ])('%s', (written, wanted) => {
    expect(plain(parsePort(written))).toMatchObject(wanted)
  })

  it.each([
    ['0:80', /"0" is not a port from 1 to 65535/],
    ['80:0', /"0" is not a port/],
    ['80:65536', /"65536" is not a port/],
    ['65530-65540:1-11', /"65530-65540" is not a port/],
    ['8000-8005:80-84', /6 ports cannot lead to 5/],
    ['8000-9000:80-81', /1001 ports cannot lead to 2$/],
    ['90-80:90-80', /the range 90-80 ends before it begins/],
    ['8080:80/icmp', /"icmp" is not tcp, udp or sctp/],
    ['8080:80/', /"" is not tcp, udp or sctp/],
    ['', /"" is not a port/],
    ['web:80', /"web" is not a port/],
    ['10.0.0.1:80', /"10.0.0.1" is not a port/],
    ['10.0.0:80:80', /"10.0.0" is not an address/],
    ['[fe80::1%eth0]:80:80', /is not an address/],
    ['2001:db8::2:80:80', /is not a published port/],
    ['[::1]:80', /a port is missing/],
    ['1.5:80', /"1.5" is not a port/],
    ['-80:80', /"-80" is not a port/],
    ['+80:80', /"\+80" is not a port/],
  ])('%s is refused', (written, why) => {
    expect(refusal(written)).toMatch(why)
  })

  it('is never anything but read or refused', () => {
    const near = fc.string({ unit: fc.constantFrom(...'0123456789:-[]/.abcdeftup ') })
    fc.assert(
      fc.property(fc.oneof(near, fc.string()), (written) => {
        try {
          const { port, count, targetPort } = parsePort(written)
          expect(Math.min(port ?? 1, targetPort, count)).toBeGreaterThanOrEqual(1)
          expect(Math.max(port ?? 1, targetPort) + count - 1).toBeLessThanOrEqual(65_535)
        } catch (error) {
          expect(error).toBeInstanceOf(StackError)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('the long form', () => {
  it('says the same', () => {
    const long = longPort({ target: 80, published: '8080', host_ip: '10.0.0.1', protocol: 'udp' })
    expect(formatPort(long)).toBe('10.0.0.1:8080:80/udp')
    expect(formatPort(longPort({ target: '80-81', published: '90-91' }))).toBe('90-91:80-81/tcp')
    expect(formatPort(longPort({ target: 80, host_ip: '::1' }))).toBe('[::1]:80/tcp')
    expect(formatPort(longPort({ target: 80, published: '8000-8010' }))).toBe('8000-8010:80/tcp')
    expect(() => longPort({ target: 80, published: 0 })).toThrow('"0" is not a port')
  })
})

/** Ports that are written with a port of the node, few enough that they get in each other's way. */
const anyPort: fc.Arbitrary<PortConfig> = fc
  .record({
    address: fc.option(
      fc.oneof(
        fc.constantFrom('0.0.0.0', '::', '10.0.0.1', '10.0.0.2', 'fd00::1').map(parseAddress),
        fc.uint8Array({ minLength: 16, maxLength: 16 }).map(fromBytes),
      ),
      { nil: undefined },
    ),
    port: fc.integer({ min: 1, max: 30 }),
    count: fc.integer({ min: 1, max: 5 }),
    targetPort: fc.integer({ min: 1, max: 65_000 }),
    protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
  })
  .filter(({ address }) => address === undefined || !isMapped(formatAddress(address)))

function isMapped(text: string): boolean {
  return text.startsWith('::ffff:')
}

describe('texts', () => {
  it('are read back as what they were', () => {
    fc.assert(
      fc.property(anyPort, (port) => {
        expect(plain(parsePort(formatPort(port)))).toEqual(plain(port))
      }),
    )
  })

  it('tell a choice that is left open', () => {
    for (const text of ['80/tcp', '8000-8010:80/tcp', '10.0.0.1:8000-8010:80/udp']) {
      expect(formatPort(parsePort(text))).toBe(text)
    }
  })

  it('name the side of the node', () => {
    expect(formatPublished(parsePort('8080:80'))).toBe('8080/tcp')
    expect(formatPublished(parsePort('[2001:db8::2]:9000-9010:1-11/udp'))).toBe(
      '[2001:db8::2]:9000-9010/udp',
    )
  })
})

/** Every protocol, address and port that a publication takes; `*4` and `*6`: any address. */
function* taken({ protocol, address, port, count }: PortConfig): Iterable<[string, string]> {
  const text = address === undefined ? undefined : formatAddress(address)
  const any = { '0.0.0.0': ['*4'], '::': ['*6'] } as Readonly<Record<string, string[]>>
  const hosts = text === undefined ? ['*4', '*6'] : (any[text] ?? [text])
  for (const host of hosts) {
    for (let i = 0; i < count; i++) yield [`${protocol} ${port! + i}`, host]
  }
}

function meet(a: string, b: string): boolean {
  const family = (host: string): string => (host === '*6' || host.includes(':') ? '6' : '4')
  return a === b || (family(a) === family(b) && (a.startsWith('*') || b.startsWith('*')))
}

describe('clashes', () => {
  it('are what a list of all ports says', () => {
    fc.assert(
      fc.property(anyPort, anyPort, (a, b) => {
        const both = [...taken(a)].some(([port, host]) =>
          [...taken(b)].some(([other, by]) => port === other && meet(host, by)),
        )
        expect(portsClash(a, b)).toBe(both)
        expect(portsClash(b, a)).toBe(both)
      }),
      { numRuns: 1000 },
    )
  })

  it('are none with a port that is still to be chosen', () => {
    expect(portsClash(parsePort('80'), parsePort('80:80'))).toBe(false)
  })
})
