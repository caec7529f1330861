/**
 * Small nodes by chance: a configuration as a few choices, which can be changed in the middle of
 * traffic, and the stations that are on it.
 */
import type { Config } from '../../services/config/model.ts'
import { parseConfig } from '../../services/config/parse.ts'
import type { State } from '../../services/state.ts'
import { type Address, toBytes } from '../../stack/address.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import type { Random } from '../../stack/random.ts'
import { POLICIES, RATES } from './twin_policies.ts'

interface NetworkChoice {
  six: boolean
  internal: boolean
  isolated: boolean
  separate: boolean
  filtering: boolean
  proxy: boolean
  offload: boolean
  guard: boolean
  masquerade: boolean
  mode: string
  mtu: number
  /** Of {@link POLICIES}. */
  policy: number
}

interface SandboxChoice {
  on: number[]
  present: boolean
  published: boolean
  /** Of {@link POLICIES} and {@link RATES}. */
  policy: number
  rate: number
}

export interface Choice {
  networks: NetworkChoice[]
  sandboxes: SandboxChoice[]
  uplink: boolean
  /** Network of the service; -1: none. */
  service: number
  scheduler: string
  drained: boolean
  blackhole: boolean
  routed: boolean
  /** The first backend is not reached. */
  hidden: boolean
}

const MODES = ['nat', 'nat', 'nat', 'nat-unprotected', 'routed']
const SCHEDULERS = ['rr', 'source_hash', 'rr', 'wrr', 'least_conn']

export function choose(random: Random): Choice {
  const guarded = random.chance(50)
  const networks = Array.from({ length: 1 + random.below(3) }, (): NetworkChoice => {
    const filtering = random.chance(15)
    return {
      six: random.chance(60),
      internal: random.chance(12),
      isolated: random.chance(10),
      separate: random.chance(25),
      filtering,
      proxy: !filtering && random.chance(80),
      offload: random.chance(75),
      guard: random.chance(45),
      masquerade: random.chance(80),
      mode: MODES[random.below(MODES.length)]!,
      mtu: random.chance(20) ? 1400 : 1500,
      policy: guarded && random.chance(30) ? random.below(POLICIES.length) : 0,
    }
  })
  const sandboxes = Array.from({ length: 2 + random.below(4) }, (): SandboxChoice => {
    const on = random.below(networks.length)
    const other = random.below(networks.length)
    const two = other !== on && random.chance(20)
    return {
      on: two ? [on, other] : [on],
      present: true,
      published: random.chance(40),
      policy: guarded && random.chance(30) ? random.below(POLICIES.length) : 0,
      rate: guarded ? random.below(RATES.length) : 0,
    }
  })
  return {
    networks,
    sandboxes,
    uplink: random.chance(75),
    service: random.chance(45) ? random.below(networks.length) : -1,
    scheduler: SCHEDULERS[random.below(SCHEDULERS.length)]!,
    drained: false,
    blackhole: random.chance(30),
    routed: random.chance(25),
    hidden: random.chance(25),
  }
}

/** Change something, as an operator does. */
export function change(choice: Choice, random: Random): string {
  const sandbox = choice.sandboxes[random.below(choice.sandboxes.length)]!
  const network = choice.networks[random.below(choice.networks.length)]!
  const guarded = choice.networks.some(({ policy }) => policy > 0)
  if (guarded && random.chance(30)) {
    const one = random.chance(50) ? sandbox : network
    one.policy = random.below(POLICIES.length)
    return 'a policy changes'
  }
  switch (random.below(9)) {
    case 0:
      sandbox.present = !sandbox.present
      return 'a sandbox comes or goes'
    case 1:
      sandbox.published = !sandbox.published
      return 'a port is published or not'
    case 2:
      choice.drained = !choice.drained
      return 'a backend is drained or not'
    case 3:
      choice.blackhole = !choice.blackhole
      return 'a blackhole comes or goes'
    case 4:
      choice.routed = !choice.routed
      return 'a route comes or goes'
    case 7:
      choice.hidden = !choice.hidden
      return 'a backend is hidden or not'
    case 5:
      network.mtu = network.mtu === 1500 ? 1400 : 1500
      return 'a network is made anew'
    case 6:
      network.masquerade = !network.masquerade
      return 'masquerading changes'
    default:
      choice.uplink = !choice.uplink
      return 'the uplink comes or goes'
  }
}

function networkOf(choice: NetworkChoice, index: number): object {
  const { six, internal, filtering, mode } = choice
  const v4 = { subnet: `10.${index}.0.0/24` }
  return {
    enable_ipv6: six,
    internal,
    ipam: { config: six ? [v4, { subnet: `fd00:${index}::/64` }] : [v4] },
    driver_opts: {
      'com.docker.network.driver.mtu': choice.mtu,
      'com.docker.network.bridge.enable_icc': !choice.isolated,
      'com.docker.network.bridge.enable_ip_masquerade': choice.masquerade,
      'com.docker.network.bridge.gateway_mode_ipv4': mode,
      'com.docker.network.bridge.gateway_mode_ipv6': mode,
      'tapline.arp_proxy': choice.proxy,
      'tapline.vlan_filtering': filtering,
      'tapline.offload': choice.offload,
      'tapline.mac_guard': choice.guard,
      'tapline.separate': choice.separate,
    },
  }
}

/** The file in which all that may be there is. */
function toFile(choice: Choice): object {
  const { networks, sandboxes, service } = choice
  const all = sandboxes.map((one, i) => ({ ...one, i }))
  const backends = all.filter(({ on }) => on.includes(service)).map(({ i }) => `s${i}`)
  const at = (n: number, i: number): object => ({
    ipv4_address: `10.${n}.0.${11 + i}`,
    ...(networks[n]!.six ? { ipv6_address: `fd00:${n}::${11 + i}` } : {}),
  })
  const open = networks.findIndex(({ internal }) => !internal)
  const vips = [`10.${service}.0.100`, ...(networks[service]?.six ? [`fd00:${service}::100`] : [])]
  const lb = {
    network: `n${service}`,
    vip: vips,
    ports: ['9080:80', '9053:53/udp'],
    scheduler: choice.scheduler,
    backends,
  }
  return {
    name: 'twin',
    networks: Object.fromEntries(networks.map((one, n) => [`n${n}`, networkOf(one, n)])),
    sandboxes: Object.fromEntries(
      all.map(({ on, i }) => [
        `s${i}`,
        {
          networks: Object.fromEntries(on.map((n) => [`n${n}`, at(n, i)])),
          ports: [`${8000 + i}:80`, `${5300 + i}:53/udp`],
        },
      ]),
    ),
    services: backends.length === 0 ? {} : { lb },
    uplink: {
      netns: 'outside',
      addresses: ['203.0.113.2/24', '2001:db8::2/64'],
      peer_addresses: ['203.0.113.1/24', '2001:db8::1/64'],
      gateway: ['203.0.113.1', '2001:db8::1'],
    },
    routes: [
      { to: '10.99.0.0/16', blackhole: true },
      ...(service < 0 ? [] : [{ to: `10.${service}.0.11/32`, blackhole: true }]),
      ...(open < 0 ? [] : [{ to: '10.98.0.0/16', via: `10.${open}.0.12` }]),
    ],
  }
}

/** The configuration of {@link toFile}. Reading files takes longer than scenarios do. */
export function readAll(choice: Choice): Config {
  const text = JSON.stringify(toFile(choice))
  const { config, faults } = parseConfig(text, 'twin')
  if (config === undefined) throw new Error(`${text}: ${JSON.stringify(faults)}`)
  return config
}

/** What of it is there now. */
export function configOf(all: Config, choice: Choice): Config {
  const { networks, sandboxes, uplink, drained } = choice
  const there = new Set(sandboxes.flatMap(({ present }, i) => (present ? [`s${i}`] : [])))
  return {
    ...all,
    networks: all.networks.map((network, n) => {
      const { mtu: mtuBytes, masquerade, policy } = networks[n]!
      const options = { ...network.options, mtuBytes, masquerade }
      return { ...network, options, policy: POLICIES[policy] }
    }),
    sandboxes: all.sandboxes.flatMap((sandbox, i) => {
      if (!there.has(sandbox.name)) return []
      const { published, policy, rate } = sandboxes[i]!
      const endpoints = sandbox.endpoints.map((endpoint) => ({
        ...endpoint,
        policy: POLICIES[policy],
        rate: RATES[rate]!,
      }))
      return [{ ...sandbox, endpoints, ports: published ? sandbox.ports : [] }]
    }),
    services: all.services.map((service) => {
      const backends = service.backends.filter(({ sandbox }) => there.has(sandbox))
      return {
        ...service,
        backends: backends.map((backend, i) => ({
          ...backend,
          weight: drained && i === 0 ? 0 : 1,
        })),
      }
    }),
    uplink: uplink ? all.uplink : undefined,
    routes: all.routes.filter(({ to, via }) => {
      if (via !== undefined) return choice.routed
      return to.bits === 32 ? choice.hidden : choice.blackhole
    }),
  }
}

/** A station that frames come from. */
export interface Station {
  readonly device: string
  /** Empty: it is outside. */
  readonly network: string
  mac: Mac
  readonly gateway: Mac
  /** Of 4 and 16 octets. */
  readonly addresses: readonly Uint8Array[]
  readonly mtuBytes: number
  readonly offload: boolean
  /** Frames of other MACs are taken from it. */
  readonly free: boolean
  /** It answers when it is asked. */
  silent: boolean
}

function octetsOf(addresses: readonly { readonly address: Address }[]): Uint8Array[] {
  return addresses.map(({ address }) => toBytes(address))
}

/** Those that a state has, and with luck others behind them. */
export function stationsOf(state: State, random: Random): Station[] {
  const all: Station[] = []
  for (const endpoint of state.endpoints.values()) {
    const network = state.networks.get(endpoint.network)!
    const own: Station = {
      device: endpoint.deviceName,
      network: endpoint.network,
      mac: endpoint.mac!,
      gateway: network.gatewayMac!,
      addresses: octetsOf(endpoint.addresses),
      mtuBytes: endpoint.mtuBytes,
      offload: network.options.offload,
      free: !network.options.macGuard,
      silent: false,
    }
    all.push(own)
    if (!own.free || !random.chance(60)) continue
    const last = 200 + all.length
    const addresses = own.addresses.map((octets) => {
      const other = octets.slice()
      other[other.length - 1] = last
      return other
    })
    all.push({ ...own, mac: { hi: 0x0202, lo: last }, addresses })
  }
  const { uplink } = state
  if (uplink === undefined) return all
  const outside: Station = {
    device: 'uplink',
    network: '',
    mac: { hi: uplink.mac.hi, lo: (uplink.mac.lo ^ 1) >>> 0 },
    gateway: uplink.mac,
    addresses: octetsOf(uplink.peerAddresses.map((address) => ({ address: address.address }))),
    mtuBytes: uplink.mtuBytes,
    offload: true,
    free: true,
    silent: false,
  }
  all.push(outside)
  return all
}

/** An address that leads to something and is no station's; undefined: take one of theirs. */
export function placeOf(
  random: Random,
  { network }: Station,
  six: boolean,
  service: number,
): Uint8Array | undefined {
  const of = (v4: readonly number[], head6: readonly number[], last6: number): Uint8Array => {
    if (!six) return Uint8Array.from(v4)
    const bytes = new Uint8Array(16)
    bytes.set(head6)
    bytes[15] = last6
    return bytes
  }
  const outer = [0x20, 0x01, 0x0d, 0xb8]
  switch (random.below(network === '' ? 6 : 8)) {
    case 0:
      if (network !== '') return of([198, 51, 100, 7], [...outer, 0, 9], 7)
      return of([203, 0, 113, 2], outer, 2)
    case 1:
      return of([203, 0, 113, 2], outer, 2)
    case 2: {
      const vip = of([10, service, 0, 100], [0xfd, 0, 0, service], 0)
      if (six) vip[14] = 1
      return service < 0 ? undefined : vip
    }
    case 3:
      return of([10, random.chance(50) ? 99 : 98, 0, 7], [0xfd, 0, 0, 9], 9)
    default:
      return undefined
  }
}
