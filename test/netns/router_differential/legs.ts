/** The two legs of both routers, in both vocabularies. */
import { formatMac, type Mac } from '../../../stack/eth/mac.ts'
import { gatewayMac, HOST_MAC, Lab } from '../../ip/lab.ts'
import { KernelRouter } from './kernel.ts'

export interface Leg {
  readonly name: string
  readonly mac: Mac
  readonly mtuBytes: number
  readonly addresses: readonly string[]
  /** Addresses of the router on this leg; of IPv6 the link-local one last. */
  readonly own4: readonly string[]
  readonly own6: readonly string[]
  readonly hosts4: readonly string[]
  readonly hosts6: readonly string[]
  readonly linkLocalHost: string
}

export const BROADCAST: Mac = { hi: 0xffff, lo: 0xffff_ffff }

export const LEGS: readonly Leg[] = [
  {
    name: 'front',
    mac: gatewayMac('front'),
    mtuBytes: 1500,
    addresses: ['10.1.0.1/24', '10.4.0.1/24', 'fd00:1::1/64'],
    own4: ['10.1.0.1', '10.4.0.1'],
    own6: ['fd00:1::1', 'fe80::aff:fe00:66'],
    hosts4: ['10.1.0.11', '10.1.0.12', '10.4.0.13'],
    hosts6: ['fd00:1::11', 'fd00:1::12'],
    linkLocalHost: 'fe80::11',
  },
  {
    name: 'back',
    mac: gatewayMac('back'),
    mtuBytes: 1400,
    addresses: ['10.2.0.1/24', 'fd00:2::1/64'],
    own4: ['10.2.0.1'],
    own6: ['fd00:2::1', 'fe80::aff:fe00:62'],
    hosts4: ['10.2.0.22', '10.2.0.23'],
    hosts6: ['fd00:2::22', 'fd00:2::23'],
    linkLocalHost: 'fe80::22',
  },
]

/** Where both have routes of their own: through a host of the back, and to nowhere. */
const VIA = { four: '10.2.0.22', six: 'fd00:2::22' }
const STATIC = ['198.51.100.0/24', '2001:db8::/32'] as const
const BLACKHOLE = ['192.0.2.0/24', 'fd00:bad::/32'] as const

function hostsOf(leg: Leg): string[] {
  return [...leg.hosts4, ...leg.hosts6, leg.linkLocalHost]
}

export function kernelRouter(): KernelRouter {
  return new KernelRouter({
    hostMac: formatMac(HOST_MAC),
    legs: LEGS.map((leg) => ({ ...leg, mac: formatMac(leg.mac), hosts: hostsOf(leg) })),
    routes: [
      `${STATIC[0]} via ${VIA.four}`,
      `${STATIC[1]} via ${VIA.six}`,
      ...BLACKHOLE.map((prefix) => `blackhole ${prefix}`),
    ],
  })
}

export function ourRouter(): Lab {
  const lab = new Lab({ icmpPerS: 1_000_000 })
  for (const { name, addresses, mtuBytes, ...leg } of LEGS) {
    const iface = lab.leg(name, addresses, { mtuBytes })
    for (const host of hostsOf({ name, addresses, mtuBytes, ...leg })) lab.host(iface, host)
  }
  for (const [prefix, via] of [
    [STATIC[0], VIA.four],
    [STATIC[1], VIA.six],
  ] as const) {
    lab.route(prefix, via)
  }
  for (const prefix of BLACKHOLE) lab.route(prefix)
  return lab
}
