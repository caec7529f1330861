/** Uplink, published ports and services in desired state, and the steps between two such states. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { addPort, drain, removePort } from '../../services/amend.ts'
import { diff, reportStep } from '../../services/diff.ts'
import { plan } from '../../services/plan.ts'
import { formatPort, parsePort, portsClash } from '../../services/ports.ts'
import { EMPTY, type State } from '../../services/state.ts'
import { formatAddress } from '../../stack/address.ts'
import { formatMac } from '../../stack/eth/mac.ts'
import { anyConfig, config, desired, Model } from './generate.ts'

const NETWORKS = {
  front: {
    enable_ipv6: true,
    ipam: { config: [{ subnet: '10.1.0.0/24' }, { subnet: 'fd00::/64' }] },
  },
  vault: { internal: true, ipam: { config: [{ subnet: '10.3.0.0/24' }] } },
}

interface Parts {
  readonly web?: object
  readonly safe?: object
  readonly services?: object
  readonly uplink?: object
  readonly more?: object
}

function file({ web = {}, safe = {}, services = {}, uplink, more = {} }: Parts = {}): object {
  return {
    name: 't',
    networks: NETWORKS,
    sandboxes: {
      web: { networks: { front: {} }, ...web },
      app: { networks: { front: {} } },
      safe: { networks: { vault: {} }, ...safe },
      ...more,
    },
    services,
    ...(uplink === undefined ? {} : { uplink }),
  }
}

function published({ ports }: State): string[] {
  return [...ports.values()].map(({ port, sandbox, network, mappings }) => {
    const targets = mappings.map(({ target }) => formatAddress(target))
    return `${formatPort(port)} ${sandbox} ${network} ${targets.join(' ')}`
  })
}

function vips({ services }: State, name = 'lb'): string[] {
  return services.get(name)!.vips.map(formatAddress)
}

function steps(before: State, after: State): string[] {
  return diff(before, after)
    .map(reportStep)
    .map(({ action, subject }) => `${action} ${subject}`)
}

const LB = { network: 'front', backends: ['web', 'app'], ports: ['8000:80'] }
const UPLINK = { netns: 'o', addresses: ['203.0.113.2/24'], gateway: '203.0.113.1' }

describe('published ports', () => {
  it('lead to the addresses of the first open network, one mapping a family', () => {
    const web = { networks: { vault: {}, front: {} }, ports: ['8080:80', '0.0.0.0:53:53/udp'] }
    const state = desired(file({ web }))
    expect(published(state)).toEqual([
      '8080:80/tcp web front 10.1.0.2 fd00::2',
      '0.0.0.0:53:53/udp web front 10.1.0.2',
    ])
    const [four, six] = [...state.ports.values()][0]!.mappings
    expect(four).toMatchObject({ protocol: 6, port: 8080, count: 1, targetPort: 80 })
    expect([four!.address, six!.address]).toEqual([undefined, undefined])
  })

  it('leave default routes to open networks, and give one to who has only an internal one', () => {
    const route = (state: State, key: string): number => state.endpoints.get(key)!.routes.length
    const web = { networks: { vault: {}, front: {} }, ports: ['8080:80'] }
    const both = desired(file({ web, safe: { ports: ['81:81'] } }))
    expect([route(both, 'web/vault'), route(both, 'web/front')]).toEqual([0, 2])
    expect(route(both, 'safe/vault')).toBe(1)
    expect(published(both)[1]).toBe('81:81/tcp safe vault 10.3.0.3')
    expect(route(desired(file()), 'safe/vault')).toBe(0)
  })

  it('that are left open take the lowest ones that nobody wants, and stay', () => {
    const first = desired(
      file({ web: { ports: ['80', '49154:81', '4000-4002'] }, safe: { ports: ['80/udp'] } }),
    )
    const kept = [
      '49153:80/tcp web front 10.1.0.2 fd00::2',
      '49154:81/tcp web front 10.1.0.2 fd00::2',
      '49155-49157:4000-4002/tcp web front 10.1.0.2 fd00::2',
      '49153:80/udp safe vault 10.3.0.2',
    ]
    expect(published(first)).toEqual(kept)
    const second = desired(file({ web: { ports: ['82', '4000-4002', '80'] } }), first)
    expect(published(second)).toEqual(['49154:82/tcp web front 10.1.0.2 fd00::2', kept[2], kept[0]])
  })

  it('that were chosen give way to one that the file names, and to that of a service', () => {
    const first = desired(file({ web: { ports: ['80'] } }))
    const safe = { ports: ['49153:1'] }
    const services = { lb: { ...LB, ports: ['49154:80'] } }
    expect(published(desired(file({ web: { ports: ['80'] }, safe, services }), first))[0]).toBe(
      '49155:80/tcp web front 10.1.0.2 fd00::2',
    )
  })

  it('come of the range that the entry names, one each, until it is full', () => {
    const ports = ['8000-8001:80', '8000-8001:81']
    const first = desired(file({ web: { ports }, safe: { ports: ['8000:1/udp'] } }))
    expect(published(first).map((line) => line.split(' ')[0])).toEqual([
      '8000:80/tcp',
      '8001:81/tcp',
      '8000:1/udp',
    ])
    const second = desired(file({ web: { ports: ports.toReversed() } }), first)
    expect([...second.ports.keys()]).toEqual(['web 8001:81/tcp', 'web 8000:80/tcp'])
    const other = desired(file({ web: { ports: ['8001-8009:80', '8001:81'] } }), first)
    expect([...other.ports.keys()]).toEqual(['web 8002:80/tcp', 'web 8001:81/tcp'])
    expect(() => desired(file({ web: { ports: [...ports, '8000-8001:82'] } }))).toThrow(
      'no free port in 8000-8001 for sandbox "web"',
    )
  })

  it('left open keep the one of their address, and never one that the file gave', () => {
    const first = desired(file({ web: { ports: ['7080:80', '80', '10.9.9.9::80'] } }))
    expect([...first.ports.keys()]).toEqual([
      'web 7080:80/tcp',
      'web 49153:80/tcp',
      'web 10.9.9.9:49154:80/tcp',
    ])
    const second = desired(file({ web: { ports: ['10.9.9.9::80', '80'] } }), first)
    expect(steps(first, second)).toEqual(['unpublish 7080:80/tcp'])
  })

  it('run out with an error that says so', () => {
    const all = { ports: ['49153-65535:1-16383'] }
    expect(() => desired(file({ web: { ports: ['80'] }, safe: all }))).toThrow(
      'no free port in 49153-65535 for sandbox "web"',
    )
  })
})

describe('virtual addresses', () => {
  it('come after endpoints, one a family, and stay while they are free', () => {
    const first = desired(file({ services: { lb: LB } }))
    expect(vips(first)).toEqual(['10.1.0.4', 'fd00::4'])
    const more = { late: { networks: { front: {} } } }
    const second = desired(file({ services: { a: LB2, lb: LB }, more }), first)
    expect(vips(second)).toEqual(['10.1.0.4', 'fd00::4'])
    expect(
      second.endpoints.get('late/front')!.addresses.map((a) => formatAddress(a.address)),
    ).toEqual(['10.1.0.5', 'fd00::5'])
    expect(vips(second, 'a')).toEqual(['10.1.0.6', 'fd00::6'])
  })

  it('that the file gives come before those of endpoints; the other family is chosen', () => {
    const state = desired(file({ services: { lb: { ...LB, vip: '10.1.0.2' } } }))
    expect(vips(state)).toEqual(['10.1.0.2', 'fd00::4'])
    expect(formatAddress(state.endpoints.get('web/front')!.addresses[0]!.address)).toBe('10.1.0.3')
  })

  it('are none where names do it', () => {
    const state = desired(file({ services: { lb: { ...LB2, endpoint_mode: 'dnsrr' } } }))
    expect(vips(state)).toEqual([])
  })

  const LB2 = { network: 'front', backends: ['web'], ports: [81] }
})

describe('services', () => {
  it('know where their backends are, and where the node is asked for them', () => {
    const services = { lb: { ...LB, backends: { app: { weight: 3 }, web: {} } } }
    const state = desired(file({ services, uplink: UPLINK }))
    const lb = state.services.get('lb')!
    expect(lb.ports).toEqual([
      { target: 80, count: 1, published: parsePort('8000:80'), protocol: 6 },
    ])
    expect(lb.backends.map((b) => [b.sandbox, b.weight, b.addresses.map(formatAddress)])).toEqual([
      ['app', 3, ['10.1.0.3', 'fd00::3']],
      ['web', 1, ['10.1.0.2', 'fd00::2']],
    ])
  })

  it('are updated for what is behind them, and made anew for what clients see', () => {
    const of = (service: object, uplink?: object): State =>
      desired(file({ services: { lb: { ...LB, ...service } }, ...(uplink && { uplink }) }))
    const first = of({})
    for (const change of [
      { backends: ['web'] },
      { backends: { web: { weight: 0 }, app: {} } },
      { scheduler: 'rr' },
      { affinity: 'client_ip' },
      { healthcheck: {} },
    ]) {
      expect(steps(first, of(change))).toEqual(['update-service lb'])
    }
    for (const change of [
      { vip: '10.1.0.9' },
      { ports: ['8001:80'] },
      { endpoint_mode: 'dnsrr', ports: [80] },
    ]) {
      expect(steps(first, of(change))).toEqual(['delete-service lb', 'create-service lb'])
    }
    expect(steps(first, of({}, UPLINK))).toEqual(['open-uplink uplink'])
  })

  it('publish as sandboxes do: bound, ranges, one of a range that then stays', () => {
    const ports = ['8000-8001:80', '10.9.9.9:90-91:90-91', '81']
    const networks = {
      ...NETWORKS,
      front: {
        ...NETWORKS.front,
        driver_opts: { 'com.docker.network.bridge.host_binding_ipv4': '10.9.9.8' },
      },
    }
    const entry = { ...LB, ports }
    const web = { ports: ['10.9.9.8:8000:1'] }
    const of = (owner: object): string[] => {
      const state = desired({ ...file({ web: owner, services: { lb: entry } }), networks }, held)
      held = state
      const own = state.services.get('lb')!.ports
      return own.map(({ published: port }) => (port === undefined ? '' : formatPort(port)))
    }
    let held: State = EMPTY
    expect(of(web)).toEqual(['10.9.9.8:8001:80/tcp', '10.9.9.9:90-91:90-91/tcp', ''])
    expect(of({})[0]).toBe('10.9.9.8:8001:80/tcp')
    held = EMPTY
    expect(of({})[0]).toBe('10.9.9.8:8000:80/tcp')
  })

  it('lead to backends on an internal network, which then can answer', () => {
    const route = (state: State, key: string): number => state.endpoints.get(key)!.routes.length
    const of = (ports: string[], more: object = {}): State =>
      desired(file({ ...more, services: { lb: { network: 'vault', backends: ['safe'], ports } } }))
    expect(route(of(['80']), 'safe/vault')).toBe(0)
    expect(route(of(['8099:80']), 'safe/vault')).toBe(1)
    const open = { safe: { networks: { vault: {}, front: {} } } }
    expect(route(of(['8099:80'], open), 'safe/vault')).toBe(0)
    expect(route(of(['8099:80'], open), 'safe/front')).toBe(2)
  })

  it('go before their network, and come after it', () => {
    const first = desired(file({ services: { lb: LB }, web: { ports: ['80:80'] } }))
    const changed = structuredClone(file({ services: { lb: LB }, web: { ports: ['80:80'] } })) as {
      networks: { front: object }
    }
    changed.networks.front = {
      ...changed.networks.front,
      driver_opts: { 'tapline.mac_guard': false },
    }
    const list = steps(first, desired(changed, first))
    expect(list[0]).toBe('delete-service lb')
    expect(list.at(-1)).toBe('create-service lb')
    expect(list.filter((step) => /publish/.test(step))).toEqual([])
  })
})

describe('the uplink', () => {
  it('has a MAC of its address, and is made anew with its routes when it changes', () => {
    const routes = [{ to: '192.0.2.0/24', via: '203.0.113.9' }]
    const of = (uplink: object): State => desired({ ...file({ uplink }), routes })
    const first = of(UPLINK)
    expect(formatMac(first.uplink!.mac)).toBe('02:42:cb:00:71:02')
    expect(steps(EMPTY, first).filter((step) => /uplink|route/.test(step))).toEqual([
      'open-uplink uplink',
      'add-route 192.0.2.0/24',
    ])
    const anew = ['delete-route 192.0.2.0/24', 'close-uplink uplink', 'open-uplink uplink']
    expect(steps(first, of({ ...UPLINK, mtu: 1400 }))).toEqual([...anew, 'add-route 192.0.2.0/24'])
    expect(steps({ ...first, lost: new Set(['uplink']) }, first)).toEqual([
      ...anew,
      'add-route 192.0.2.0/24',
    ])
    expect(steps(first, first)).toEqual([])
  })
})

describe('amendments', () => {
  const base = config(file({ web: { ports: ['80', '8080:8080'] }, services: { lb: LB } }))
  const state = plan(base, EMPTY)

  it('publish one more port, and take it away by any of its names', () => {
    const more = addPort('9000-9001:1-2/udp', 'app')(base, state)
    const after = plan(more, state)
    expect(steps(state, after)).toEqual(['publish 9000-9001:1-2/udp'])
    for (const name of ['9000-9001/udp', '9000-9001:1-2/udp']) {
      expect(steps(after, plan(removePort(name)(more, after), after))).toEqual([
        'unpublish 9000-9001:1-2/udp',
      ])
    }
    for (const name of ['49153', '49153/tcp', '49153:80', '49153:80/tcp']) {
      expect(steps(state, plan(removePort(name)(base, state), state))).toEqual([
        'unpublish 49153:80/tcp',
      ])
    }
  })

  it('take away the one that is meant of several to one port, and move none', () => {
    const open = addPort('80', 'web')(base, state)
    const two = plan(open, state)
    const both = addPort('7080:80', 'web')(open, two)
    const after = plan(both, two)
    expect([...after.ports.keys()].filter((key) => key.endsWith(':80/tcp'))).toEqual([
      'web 49153:80/tcp',
      'web 49154:80/tcp',
      'web 7080:80/tcp',
    ])
    for (const [name, gone] of [
      ['7080', '7080:80/tcp'],
      ['49153', '49153:80/tcp'],
      ['49154', '49154:80/tcp'],
    ] as const) {
      expect(steps(after, plan(removePort(name)(both, after), after))).toEqual([
        `unpublish ${gone}`,
      ])
    }
    expect(() => removePort('80')(both, after)).toThrow(
      '"80" may be any of 49153/tcp, 49154/tcp; name that one',
    )
  })

  it('take away what was left open by what was asked for', () => {
    expect(steps(state, plan(removePort('80')(base, state), state))).toEqual([
      'unpublish 49153:80/tcp',
    ])
  })

  it.each([
    ['8080:1', 'app', 'exists', '8080:1/tcp overlaps 8080:8080/tcp of sandbox "web"'],
    ['49153:1', 'app', 'exists', '49153:1/tcp overlaps 49153:80/tcp of sandbox "web"'],
    ['8000:1', 'app', 'exists', '8000:1/tcp overlaps 8000:80/tcp of service "lb"'],
    ['80:80', 'nobody', 'not-found', 'no sandbox "nobody"'],
    ['80:x', 'app', 'bad-argument', '"80:x": "x" is not a port'],
  ])('%s for %s is refused: %s', (spec, sandbox, code, message) => {
    expect(() => addPort(spec, sandbox)(base, state)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) }),
    )
  })

  it('take away nothing that is not there', () => {
    expect(() => removePort('8000')(base, state)).toThrow(
      '8000/tcp is of service "lb"; take it out of the file, and apply that',
    )
    expect(() => removePort('81')(base, state)).toThrow('no published port "81"')
  })

  it('drain a backend', () => {
    const after = plan(drain('lb', 'web')(base, state), state)
    expect(steps(state, after)).toEqual(['update-service lb'])
    expect(after.services.get('lb')!.backends.map(({ weight }) => weight)).toEqual([0, 1])
    expect(() => drain('lb', 'safe')(base, state)).toThrow('service "lb" has no backend "safe"')
    expect(() => drain('x', 'web')(base, state)).toThrow('no service "x"')
  })
})

interface Drawn {
  readonly networks: Readonly<Record<string, object>>
  readonly sandboxes: Readonly<
    Record<string, { readonly networks?: Readonly<Record<string, object>> }>
  >
}

/** Configurations with ports, services and an uplink, valid by construction. */
const anyOutside: fc.Arbitrary<object> = fc
  .tuple(
    anyConfig,
    fc.record({
      ports: fc.array(fc.constantFrom('80', '53/udp', '7000-7004'), { maxLength: 2 }),
      fixed: fc.option(fc.integer({ min: 49_150, max: 49_156 })),
      uplink: fc.constantFrom(undefined, '203.0.113.2/24', '203.0.113.3/24'),
      service: fc.boolean(),
      weight: fc.nat(2),
      published: fc.boolean(),
    }),
  )
  .map(([drawn, { ports, fixed, uplink, service, weight, published: ingress }]) => {
    const { networks, sandboxes } = drawn as Drawn
    const on = (name: string): string[] => Object.keys(sandboxes[name]?.networks ?? {})
    const names = Object.keys(sandboxes).filter((name) => on(name).length > 0)
    const all = Object.entries(sandboxes).map(([name, entry]) => {
      if (!names.includes(name)) return [name, entry]
      const own = name === names[0] && fixed !== null ? [`${fixed}:9`] : []
      return [name, { ...entry, ports: [...ports, ...own] }]
    })
    const network = Object.keys(networks)[0]!
    const backends = names.filter((name) => on(name).includes(network))
    const lb = {
      network,
      backends: Object.fromEntries(backends.map((name) => [name, { weight }])),
      ports: [ingress ? '8000:80' : '80'],
    }
    return {
      ...drawn,
      sandboxes: Object.fromEntries(all),
      services: service ? { lb } : {},
      ...(uplink === undefined ? {} : { uplink: { netns: 'o', addresses: [uplink] } }),
    }
  })

describe('any two configurations', () => {
  it('are joined by steps that a node can do; no port and no address is given twice', () => {
    fc.assert(
      fc.property(anyOutside, anyOutside, fc.boolean(), (before, after, lose) => {
        const current = desired(before)
        const state = { ...current, lost: new Set(lose && current.uplink ? ['uplink'] : []) }
        const wanted = desired(after, state)
        const model = new Model(state)
        for (const step of diff(state, wanted)) model.run(step)
        expect(model.ports).toEqual(wanted.ports)
        expect(model.services).toEqual(wanted.services)
        expect(model.uplink).toEqual(wanted.uplink)
        expect(diff(model.state, desired(after, model.state))).toEqual([])
        const ports = [...wanted.ports.values()].map(({ port }) => port)
        for (const [i, port] of ports.entries()) {
          expect(ports.slice(0, i).some((other) => portsClash(port, other))).toBe(false)
        }
        const held = [...wanted.endpoints.values()].flatMap((endpoint) =>
          endpoint.addresses.map(({ address }) => formatAddress(address)),
        )
        for (const service of wanted.services.values()) {
          for (const vip of service.vips) expect(held).not.toContain(formatAddress(vip))
        }
      }),
      { numRuns: 150 },
    )
  })
})

describe('an uplink on the host', () => {
  const at = (uplink: object): State =>
    desired(file({ web: { ports: ['8080:80'] }, services: { lb: LB }, uplink }))

  it('is opened anew with all ports that it leads in, and another without', () => {
    const host = steps(at({ host: true }), at({ host: true, mtu: 1400 }))
    expect(host).toContain('unpublish 8080:80/tcp')
    expect(host.indexOf('unpublish 8080:80/tcp')).toBeLessThan(host.indexOf('close-uplink uplink'))
    expect(host.indexOf('open-uplink uplink')).toBeLessThan(host.indexOf('publish 8080:80/tcp'))
    expect(host.indexOf('open-uplink uplink')).toBeLessThan(host.indexOf('create-service lb'))
    expect(steps(at(UPLINK), at({ host: true }))).toContain('publish 8080:80/tcp')
    expect(steps(at({ host: true }), at(UPLINK))).toContain('unpublish 8080:80/tcp')
    expect(steps(at(UPLINK), at({ ...UPLINK, mtu: 1400 }))).not.toContain('publish 8080:80/tcp')
  })

  it('has a table by the name of the file', () => {
    expect(at({ host: true }).uplink).toMatchObject({ hostTable: 'tapline_t' })
    expect(at(UPLINK).uplink?.hostTable).toBeUndefined()
  })
})
