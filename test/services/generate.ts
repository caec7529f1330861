/** Random configurations that are right, and a model of a node that says whether steps are. */
import fc from 'fast-check'
import type { Config } from '../../services/config/model.ts'
import { parseConfig } from '../../services/config/parse.ts'
import type { Step } from '../../services/diff.ts'
import { type Elsewhere, plan } from '../../services/plan.ts'
import {
  EMPTY,
  type EndpointState,
  endpointKey,
  type PortState,
  type ServiceState,
  type State,
} from '../../services/state.ts'
import { formatAddress, formatPrefix } from '../../stack/address.ts'
import { formatMac } from '../../stack/eth/mac.ts'

/** The configuration of a text or a value. */
export function config(source: string | object): Config {
  const text = typeof source === 'string' ? source : JSON.stringify(source)
  const { config: read, faults } = parseConfig(text, 'test')
  if (read === undefined) throw new Error(JSON.stringify(faults))
  return read
}

/** Desired state on an empty node, or on one that holds `held`. */
export function desired(
  source: string | object,
  held: State = EMPTY,
  elsewhere?: Elsewhere,
): State {
  return plan(config(source), held, elsewhere)
}

const NETWORKS = ['n0', 'n1', 'n2']
const SANDBOXES = ['s0', 's1', 's2', 's3', 's4']

/**
 * Networks n0 to n2 with small variations, sandboxes s0 to s4 on some of them; some addresses are
 * given. All of it is kept valid by construction.
 */
export const anyConfig: fc.Arbitrary<object> = fc
  .record({
    networks: fc.uniqueArray(
      fc.record({
        name: fc.constantFrom(...NETWORKS),
        internal: fc.boolean(),
        six: fc.boolean(),
        given: fc.boolean(),
        mtu: fc.constantFrom(1500, 1400),
      }),
      { selector: ({ name }) => name, minLength: 1 },
    ),
    sandboxes: fc.uniqueArray(
      fc.record({
        name: fc.constantFrom(...SANDBOXES),
        netns: fc.constantFrom('', 'x'),
        on: fc.uniqueArray(fc.nat(2)),
        host: fc.option(fc.integer({ min: 2, max: 4 })),
        alias: fc.boolean(),
        mode: fc.constantFrom('', '', '', '', 'none', 'host', 'share'),
      }),
      { selector: ({ name }) => name },
    ),
    route: fc.boolean(),
    conntrack: fc.constantFrom({}, { reset_expired: true }, { timeouts: { udp: '5s' } }),
  })
  .map(({ networks, sandboxes, route, conntrack }) => {
    const taken = new Set<string>()
    const owner = sandboxes.find(({ mode }) => mode === '' || mode === 'none')?.name
    const entry = (sandbox: (typeof sandboxes)[number]): object => {
      const { mode, netns, name } = sandbox
      const own = netns === '' ? {} : { netns: `${netns}-${name}` }
      if (mode === 'share') return owner ? { network_mode: `container:${owner}` } : own
      if (mode !== '') return { network_mode: mode }
      const on = [...new Set(sandbox.on.map((i) => networks[i % networks.length]!))]
      const endpoints = on.map((network) => {
        const index = NETWORKS.indexOf(network.name)
        const address = `10.${index}.0.${sandbox.host}`
        const fixed = network.given && sandbox.host !== null && !taken.has(address)
        if (fixed) taken.add(address)
        const aliases = sandbox.alias ? ['alias'] : []
        return [network.name, { aliases, ...(fixed ? { ipv4_address: address } : {}) }]
      })
      return { ...own, networks: Object.fromEntries(endpoints) }
    }
    return {
      name: 'gen',
      networks: Object.fromEntries(
        networks.map(({ name, internal, six, given, mtu }) => [
          name,
          {
            internal,
            enable_ipv6: six,
            driver_opts: { 'com.docker.network.driver.mtu': mtu },
            ipam: { config: given ? [{ subnet: `10.${NETWORKS.indexOf(name)}.0.0/28` }] : [] },
          },
        ]),
      ),
      sandboxes: Object.fromEntries(sandboxes.map((sandbox) => [sandbox.name, entry(sandbox)])),
      conntrack,
      routes: route ? [{ to: '10.99.0.0/16', blackhole: true }] : [],
    }
  })

/** Does steps on values, and refuses any that a node could not do. */
export class Model {
  readonly networks: Map<string, State['networks'] extends ReadonlyMap<string, infer N> ? N : never>
  readonly sandboxes: Map<
    string,
    State['sandboxes'] extends ReadonlyMap<string, infer S> ? S : never
  >
  readonly endpoints: Map<string, EndpointState>
  readonly routes: Map<string, State['routes'] extends ReadonlyMap<string, infer R> ? R : never>

  readonly ports: Map<string, PortState>
  readonly services: Map<string, ServiceState>
  uplink: State['uplink']
  tracking: State['tracking']
  node: State['node']
  dns: State['dns']
  leased: State['leased']

  constructor(state: State) {
    this.ports = new Map(state.ports)
    this.services = new Map(state.services)
    this.uplink = state.uplink
    this.tracking = state.tracking
    this.node = state.node
    this.dns = state.dns
    this.leased = state.leased
    this.networks = new Map(state.networks)
    this.sandboxes = new Map(state.sandboxes)
    this.endpoints = new Map(state.endpoints)
    this.routes = new Map(state.routes)
  }

  get state(): State {
    return { ...this, lost: new Set() }
  }

  run(step: Step): void {
    switch (step.action) {
      case 'update-tracking':
        this.tracking = step.tracking
        return
      case 'open-underlay':
        refuse(this.node !== undefined, 'there is an underlay')
        this.node = step.node
        return
      case 'close-underlay':
        this.node = undefined
        return
      case 'update-network':
        this.networks.set(step.network.name, step.network)
        return
      case 'update-dns':
        this.dns = step.dns
        return
      case 'open-uplink':
        refuse(this.uplink !== undefined, 'there is an uplink')
        this.uplink = step.uplink
        return
      case 'close-uplink':
        refuse(this.uplink === undefined, 'no uplink')
        this.uplink = undefined
        return
      case 'publish':
        refuse(!this.networks.has(step.port.network), 'no network')
        return put(this.ports, step.port.key, step.port)
      case 'unpublish':
        return take(this.ports, step.port.key)
      case 'create-service':
        refuse(!this.networks.has(step.service.network), 'no network')
        return put(this.services, step.service.name, step.service)
      case 'update-service':
        take(this.services, step.service.name)
        return put(this.services, step.service.name, step.service)
      case 'delete-service':
        return take(this.services, step.service.name)
      case 'create-network':
        return put(this.networks, step.network.name, step.network)
      case 'delete-network': {
        const { name } = step.network
        refuse(
          [...this.endpoints.values()].some((e) => e.network === name),
          'network in use',
        )
        refuse(
          [...this.services.values()].some((s) => s.network === name),
          'network has services',
        )
        refuse(
          [...this.routes.values()].some((r) => r.network === name),
          'network routed',
        )
        return take(this.networks, name)
      }
      case 'create-sandbox':
        return put(this.sandboxes, step.sandbox.name, step.sandbox)
      case 'delete-sandbox': {
        const { name } = step.sandbox
        refuse(
          [...this.endpoints.values()].some((e) => e.sandbox === name),
          'sandbox in use',
        )
        return take(this.sandboxes, name)
      }
      case 'add-route':
        refuse(step.route.network !== undefined && !this.networks.has(step.route.network), 'no net')
        return put(this.routes, formatPrefix(step.route.to), step.route)
      case 'delete-route':
        return take(this.routes, formatPrefix(step.route.to))
      case 'leave':
        return take(this.endpoints, endpointKey(step.endpoint))
      case 'update':
        take(this.endpoints, endpointKey(step.endpoint))
        return put(this.endpoints, endpointKey(step.endpoint), step.endpoint)
      case 'join':
        return this.#join(step.endpoint)
    }
  }

  #join(endpoint: EndpointState): void {
    refuse(!this.sandboxes.has(endpoint.sandbox), 'no sandbox')
    refuse(!this.networks.has(endpoint.network), 'no network')
    for (const other of this.endpoints.values()) {
      refuse(other.deviceName === endpoint.deviceName && hasLink(endpoint), 'interface taken')
      if (other.network !== endpoint.network || !hasLink(endpoint)) continue
      const own = new Set(other.addresses.map(({ address }) => formatAddress(address)))
      const twice = endpoint.addresses.some(({ address }) => own.has(formatAddress(address)))
      refuse(twice, 'address taken')
      refuse(formatMac(other.mac!) === formatMac(endpoint.mac!), 'MAC taken')
    }
    put(this.endpoints, endpointKey(endpoint), endpoint)
  }
}

function hasLink({ mac }: EndpointState): boolean {
  return mac !== undefined
}

function refuse(wrong: boolean, why: string): void {
  if (wrong) throw new Error(why)
}

function put<T>(map: Map<string, T>, key: string, value: T): void {
  refuse(map.has(key), `${key} is there already`)
  map.set(key, value)
}

function take<T>(map: Map<string, T>, key: string): void {
  refuse(!map.delete(key), `${key} is not there`)
}
