/** Desired state: which addresses, MACs and routes a configuration comes to. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Elsewhere } from '../../services/plan.ts'
import { EMPTY, type State } from '../../services/state.ts'
import {
  type Address,
  contains,
  formatAddress,
  formatPrefix,
  parseAddress,
} from '../../stack/address.ts'
import { formatMac, type Mac, parseMac } from '../../stack/eth/mac.ts'
import { anyConfig, desired } from './generate.ts'

/** Addresses of each endpoint, by `sandbox/network`. */
function addresses({ endpoints }: State): Record<string, string> {
  return Object.fromEntries(
    [...endpoints].map(([key, e]) => [key, e.addresses.map(formatPrefix).join(' ')]),
  )
}

function macs({ endpoints }: State): string[] {
  return [...endpoints.values()].map(({ mac }) => (mac === undefined ? '-' : formatMac(mac)))
}

function routes({ endpoints }: State): Record<string, string> {
  return Object.fromEntries(
    [...endpoints].map(([key, e]) => [
      key,
      e.routes.map((r) => `${formatPrefix(r.destination)} ${formatAddress(r.via)}`).join(', '),
    ]),
  )
}

const FRONT = { subnet: '10.1.0.0/24' }

function file(sandboxes: object, network: object = {}): object {
  return { name: 't', networks: { front: { ipam: { config: [FRONT] }, ...network } }, sandboxes }
}

describe('addresses', () => {
  it('that are given come first, the others take the lowest that are left, in order', () => {
    const state = desired(
      file({
        a: { networks: ['front'] },
        b: { networks: { front: { ipv4_address: '10.1.0.3' } } },
        c: { networks: ['front'] },
        d: { networks: ['front'] },
      }),
    )
    expect(addresses(state)).toEqual({
      'a/front': '10.1.0.2/24',
      'b/front': '10.1.0.3/24',
      'c/front': '10.1.0.4/24',
      'd/front': '10.1.0.5/24',
    })
  })

  it('in use stay in use, and what was given back is used again', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name) => [name, { networks: ['front'] }] as const)
    const first = desired(file(Object.fromEntries([a!, b!])))
    const second = desired(file(Object.fromEntries([c!, b!])), first)
    expect(addresses(second)).toEqual({ 'c/front': '10.1.0.2/24', 'b/front': '10.1.0.3/24' })
  })

  it('in use give way to one that the file gives to another', () => {
    const first = desired(file({ a: { networks: ['front'] } }))
    const both = {
      a: { networks: ['front'] },
      b: { networks: { front: { ipv4_address: '10.1.0.2' } } },
    }
    expect(addresses(desired(file(both), first))).toEqual({
      'a/front': '10.1.0.3/24',
      'b/front': '10.1.0.2/24',
    })
  })

  it('in use give way to a gateway and to auxiliary addresses', () => {
    const first = desired(file({ a: { networks: ['front'] } }))
    const held = { ...FRONT, gateway: '10.1.0.9', aux_addresses: { x: '10.1.0.2' } }
    const next = file({ a: { networks: ['front'] } }, { ipam: { config: [held] } })
    expect(addresses(desired(next, first))).toEqual({ 'a/front': '10.1.0.1/24' })
  })

  it('run out with an error that says so, before anything is done', () => {
    const small = { ipam: { config: [{ subnet: '10.1.0.0/30' }] } }
    const two = file({ a: { networks: ['front'] }, b: { networks: ['front'] } }, small)
    expect(() => desired(two)).toThrow(
      'no address left in 10.1.0.0/30 for sandbox "b" on network "front": ' +
        '2 of 2 in use (10.1.0.1 to 10.1.0.2)',
    )
  })

  it('come from the next subnet when one is full', () => {
    const two = { ipam: { config: [{ subnet: '10.1.0.0/30' }, { subnet: '10.2.0.0/30' }] } }
    const state = desired(file({ a: { networks: ['front'] }, b: { networks: ['front'] } }, two))
    expect(addresses(state)).toEqual({ 'a/front': '10.1.0.2/30', 'b/front': '10.2.0.2/30' })
    expect(routes(state)['b/front']).toBe('0.0.0.0/0 10.2.0.1')
  })

  it('are of both families where both are on', () => {
    const state = desired(file({ a: { networks: ['front'] } }, { enable_ipv6: true }))
    expect(addresses(state)['a/front']).toMatch(/^10\.1\.0\.2\/24 fd[0-9a-f:]+::2\/64$/)
    const six = { enable_ipv4: false, enable_ipv6: true, ipam: {} }
    expect(addresses(desired(file({ a: { networks: ['front'] } }, six)))['a/front']).toMatch(/^fd/)
  })

  it('of networks without a subnet come from the default pools, and stay', () => {
    const one = { name: 't', networks: { a: {} }, sandboxes: { s: { networks: ['a'] } } }
    const first = desired(one)
    expect(addresses(first)).toEqual({ 's/a': '172.17.0.2/16' })
    const two = { ...one, networks: { b: {}, a: {} }, sandboxes: { s: { networks: ['b', 'a'] } } }
    expect(addresses(desired(two, first))).toEqual({
      's/b': '172.18.0.2/16',
      's/a': '172.17.0.2/16',
    })
    const taken = { a: {}, c: { ipam: { config: [{ subnet: '172.17.5.0/24' }] } } }
    expect(addresses(desired({ ...one, networks: taken }, first))).toEqual({
      's/a': '172.18.0.2/16',
    })
  })
})

describe('addresses and MACs of an overlay', () => {
  const overlay = (sandboxes: object, network: object = {}): object => ({
    ...file(sandboxes, {
      driver: 'overlay',
      driver_opts: { 'com.docker.network.driver.overlay.vxlanid_list': '7' },
      ...network,
    }),
    node: { name: 'n1', underlay: { address: '10.200.0.1' } },
  })
  const at = (mac: string, ...addresses: string[]): { mac: Mac; addresses: Address[] } => ({
    mac: parseMac(mac),
    addresses: addresses.map(parseAddress),
  })
  const elsewhere: Elsewhere = (vni) =>
    vni === 7
      ? [at('02:42:0a:01:00:02', '10.1.0.2'), at('02:42:0a:01:00:03'), at('02:00:00:00:00:09')]
      : []
  const one = { a: { networks: ['front'] } }

  it("that endpoints of other nodes have are nobody else's", () => {
    const state = desired(overlay(one), EMPTY, elsewhere)
    expect(addresses(state)).toEqual({ 'a/front': '10.1.0.3/24' })
    expect(macs(state)).toEqual(['02:42:0a:01:00:04'])
    expect(addresses(desired(overlay(one)))).toEqual({ 'a/front': '10.1.0.2/24' })
    // Addresses that are not of this network, or are held back in it, harm nothing.
    const odd = (): ReturnType<Elsewhere> => [at('02:00:00:00:00:01', '10.1.0.1', '192.0.2.1')]
    expect(addresses(desired(overlay(one), EMPTY, odd))).toEqual({ 'a/front': '10.1.0.2/24' })
  })

  it('stay where they are if another node claims them later, or no more', () => {
    const first = desired(overlay(one))
    expect(desired(overlay(one), first, elsewhere)).toEqual(first)
    const moved = desired(overlay(one), EMPTY, elsewhere)
    expect(desired(overlay(one), moved)).toEqual(moved)
  })

  it('that the file names are given all the same, and never to two of one file', () => {
    const named = { ipv4_address: '10.1.0.2', mac_address: '02:42:0a:01:00:02' }
    const state = desired(overlay({ a: { networks: { front: named } } }), EMPTY, elsewhere)
    expect(addresses(state)).toEqual({ 'a/front': '10.1.0.2/24' })
    expect(macs(state)).toEqual(['02:42:0a:01:00:02'])
    const held = desired(overlay(one))
    const next = { b: { networks: { front: { mac_address: macs(held)[0] } } }, ...one }
    expect(macs(desired(overlay(next), held))).toEqual(['02:42:0a:01:00:02', '02:42:0a:01:00:03'])
  })
})

describe('MAC addresses', () => {
  it('tell the IPv4 address, as in Docker', () => {
    const state = desired(file({ a: { networks: ['front'] } }))
    expect(macs(state)).toEqual(['02:42:0a:01:00:02'])
    expect(formatMac(state.networks.get('front')!.gatewayMac!)).toBe('02:42:0a:01:00:01')
  })

  it('step aside for one that is given', () => {
    const state = desired(
      file({
        a: { networks: ['front'] },
        b: { networks: { front: { mac_address: '02:42:0a:01:00:02' } } },
      }),
    )
    expect(macs(state)).toEqual(['02:42:0a:01:00:03', '02:42:0a:01:00:02'])
  })

  it('are made of the IPv6 address where there is no IPv4', () => {
    const six = { enable_ipv4: false, enable_ipv6: true, ipam: {} }
    const two = file({ a: { networks: ['front'] }, b: { networks: ['front'] } }, six)
    expect(macs(desired(two))).toEqual(macs(desired(two)))
    expect(new Set(macs(desired(two))).size).toBe(2)
  })
})

describe('default routes', () => {
  const networks = {
    inner: { internal: true, ipam: { config: [{ subnet: '10.1.0.0/24' }] } },
    front: { ipam: { config: [{ subnet: '10.2.0.0/24' }] } },
    six: {
      enable_ipv6: true,
      ipam: { config: [{ subnet: '10.3.0.0/24' }, { subnet: 'fd::/64' }] },
    },
  }

  it('go by the first network of each family that is not internal', () => {
    const sandboxes = { a: { networks: ['inner', 'front', 'six'] }, b: { networks: ['inner'] } }
    const wide = {
      ...networks.six,
      ipam: { config: [{ subnet: '10.3.0.0/24' }, { subnet: 'fd00::/64' }] },
    }
    expect(routes(desired({ name: 't', networks: { ...networks, six: wide }, sandboxes }))).toEqual(
      {
        'a/inner': '',
        'a/front': '0.0.0.0/0 10.2.0.1',
        'a/six': '::/0 fd00::1',
        'b/inner': '',
      },
    )
  })
})

describe('routes of the router', () => {
  it('know the network of their next hop, or are refused', () => {
    const via = (address: string): object => ({
      ...file({}),
      routes: [{ to: '10.9.0.0/16', via: address }],
    })
    expect(desired(via('10.1.0.9')).routes.get('10.9.0.0/16')?.network).toBe('front')
    const open = {
      name: 't',
      networks: { a: {} },
      routes: [{ to: '10.9.0.0/16', via: '10.1.0.9' }],
    }
    expect(() => desired(open)).toThrow('route to 10.9.0.0/16: 10.1.0.9 is not on any network')
    const pool = { ...open, routes: [{ to: '10.9.0.0/16', via: '172.17.0.9' }] }
    expect(desired(pool).routes.get('10.9.0.0/16')?.network).toBe('a')
  })
})

describe('sandboxes', () => {
  it('share the namespace of their owner, or the stack of the host', () => {
    const state = desired({
      name: 't',
      sandboxes: {
        a: { netns: 'pid:7' },
        b: { network_mode: 'container:a' },
        c: { network_mode: 'host' },
        d: { network_mode: 'container:c' },
      },
    })
    expect([...state.sandboxes.values()]).toEqual([
      { name: 'a', netns: 'pid:7', stack: 'own' },
      { name: 'b', netns: 'pid:7', stack: 'shared' },
      { name: 'c', netns: '', stack: 'host' },
      { name: 'd', netns: '', stack: 'shared' },
    ])
  })
})

describe('any configuration', () => {
  it('gives each address and MAC once, in its subnet, and planning again changes nothing', () => {
    fc.assert(
      fc.property(anyConfig, anyConfig, (before, after) => {
        const held = desired(before)
        const state = desired(after, held)
        const seen = new Set<string>()
        for (const { network, addresses: list, mac } of state.endpoints.values()) {
          const { subnets, gatewayMac } = state.networks.get(network)!
          if (mac === undefined) continue
          expect(formatMac(mac)).not.toBe(formatMac(gatewayMac!))
          for (const text of [...list.map((p) => formatAddress(p.address)), formatMac(mac)]) {
            expect(seen.has(`${network} ${text}`)).toBe(false)
            seen.add(`${network} ${text}`)
          }
          for (const { address } of list) {
            expect(subnets.some(({ subnet }) => contains(subnet, address))).toBe(true)
            expect(
              subnets.some(({ gateway }) => formatAddress(gateway) === formatAddress(address)),
            ).toBe(false)
          }
        }
        expect(desired(after, state)).toEqual(state)
      }),
      { numRuns: 100 },
    )
  })
})
