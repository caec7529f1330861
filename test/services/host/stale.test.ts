/** Which connections the host forgets with a change of published ports: those to them only. */
import { describe, expect, it } from 'vitest'
import { askedOf } from '../../../services/host/stale.ts'
import type { HostPort } from '../../../services/links.ts'
import { parseAddress, toBytes } from '../../../stack/address.ts'
import type { Asked } from '../../../stack/native/ctnetlink.ts'

function port(first: number, more: Partial<HostPort> = {}): HostPort {
  return { protocol: 17, family: 4, address: undefined, port: first, count: 1, ...more }
}

function asked(to: string, at: number, protocol = 17): Asked {
  const address = parseAddress(to)
  return { family: address.family, address: toBytes(address), protocol, port: at }
}

describe('connections of changed ports', () => {
  const isStale = askedOf(
    [
      port(53),
      port(53, { family: 6 }),
      port(9000, { protocol: 132, count: 100 }),
      port(5300, { address: parseAddress('192.0.2.9') }),
    ],
    ['192.0.2.1', '192.0.2.9', '127.0.0.1', '::1', '2001:db8::1'].map(parseAddress),
  )

  it.each([
    ['192.0.2.1', 53, 17, true],
    ['127.0.0.7', 53, 17, true],
    ['2001:db8::1', 53, 17, true],
    ['::1', 53, 17, true],
    // What the host forwards for others.
    ['192.0.2.50', 53, 17, false],
    ['2001:db8::2', 53, 17, false],
    ['192.0.2.1', 54, 17, false],
    ['192.0.2.1', 53, 132, false],
    ['192.0.2.1', 9000, 132, true],
    ['192.0.2.1', 9099, 132, true],
    ['192.0.2.1', 9100, 132, false],
    ['192.0.2.1', 9000, 17, false],
    ['192.0.2.9', 5300, 17, true],
    ['192.0.2.1', 5300, 17, false],
    ['127.0.0.1', 5300, 17, false],
  ])('%s port %i, protocol %i: %s', (to, at, protocol, is) => {
    expect(isStale(asked(to, at, protocol))).toBe(is)
  })
})
