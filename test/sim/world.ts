/**
 * The topology of one simulation, as a value that a seed makes and changes; its configuration
 * file; and who should reach whom in it, by rules that are written here anew and not asked of the
 * code under test.
 */
import type { Random } from '../../stack/random.ts'

export interface NetworkPlan {
  readonly name: string
  /** Its subnets are 10.N.0.0/24 and fd00:N::/64. */
  readonly n: number
  readonly six: boolean
  readonly internal: boolean
  readonly isolated: boolean
  readonly separate: boolean
  readonly options: Readonly<Record<string, string>>
}

export interface SandboxPlan {
  readonly name: string
  readonly n: number
  /** Numbers of its networks, in the order of its interfaces. */
  readonly networks: readonly number[]
}

export interface World {
  readonly networks: readonly NetworkPlan[]
  readonly sandboxes: readonly SandboxPlan[]
  readonly routes: readonly object[]
}

const NETWORKS_MAX = 3
const SANDBOXES_MAX = 6
const MTUS = ['1500', '1500', '1500', '1400', '1280', '9000']

export function newWorld(random: Random): World {
  const networks = Array.from({ length: 1 + random.below(NETWORKS_MAX) }, (_, i) =>
    newNetwork(random, i + 1),
  )
  const world: World = { networks, sandboxes: [], routes: [] }
  const sandboxes = Array.from({ length: 2 + random.below(SANDBOXES_MAX - 1) }, (_, i) =>
    newSandbox(random, i + 1, world),
  )
  return { ...world, sandboxes }
}

function newNetwork(random: Random, n: number): NetworkPlan {
  const options: Record<string, string> = {
    'com.docker.network.driver.mtu': MTUS[random.below(MTUS.length)]!,
  }
  if (random.chance(20)) options['tapline.arp_proxy'] = 'false'
  if (random.chance(30)) options['tapline.offload'] = 'false'
  if (random.chance(20)) options['tapline.mac_guard'] = 'false'
  if (random.chance(10)) options['tapline.vlan_filtering'] = 'true'
  const [six, internal, isolated] = [50, 15, 10].map((pct) => random.chance(pct))
  const separate = random.chance(30)
  if (separate) options['tapline.separate'] = 'true'
  const kind = { six: six!, internal: internal!, isolated: isolated!, separate }
  return { name: `net${n}`, n, ...kind, options }
}

function newSandbox(random: Random, n: number, { networks }: World): SandboxPlan {
  const all = networks.map((network) => network.n)
  const first = all[random.below(all.length)]!
  const second = all[random.below(all.length)]!
  const both = random.chance(30) && second !== first
  return { name: `box${n}`, n, networks: both ? [first, second] : [first] }
}

/** The world after one change that an operator may make. */
export function changeWorld(random: Random, world: World): World {
  const { networks, sandboxes } = world
  switch (random.below(6)) {
    case 0:
      return { ...world, sandboxes: sandboxes.filter((_, i) => i !== random.below(6)) }
    case 1: {
      const n = 1 + random.below(SANDBOXES_MAX)
      const others = sandboxes.filter((sandbox) => sandbox.n !== n)
      return { ...world, sandboxes: [...others, newSandbox(random, n, world)] }
    }
    case 2: {
      const n = 1 + random.below(NETWORKS_MAX)
      const others = networks.filter((network) => network.n !== n)
      return { ...world, networks: [...others, newNetwork(random, n)], routes: [] }
    }
    case 3: {
      const gone = 1 + random.below(NETWORKS_MAX)
      const left = networks.filter(({ n }) => n !== gone)
      if (left.length === 0) return world
      const moved = sandboxes.map((sandbox) => ({
        ...sandbox,
        networks: sandbox.networks.filter((n) => n !== gone),
      }))
      return { ...world, networks: left, sandboxes: moved, routes: [] }
    }
    case 4:
      return { ...world, networks: networks.map((each) => ({ ...each, isolated: !each.isolated })) }
    default: {
      const to = `10.${100 + random.below(100)}.0.0/16`
      const near = networks.find(({ internal }) => !internal)
      if (near === undefined || random.chance(50)) {
        return { ...world, routes: [{ to, blackhole: true }] }
      }
      return { ...world, routes: [{ to, via: `10.${near.n}.0.200` }] }
    }
  }
}

/** The world as a configuration file (JSON is YAML). */
export function configText({ networks, sandboxes, routes }: World): string {
  const networkEntries = networks.map(({ name, n, six, internal, isolated, options }) => {
    const config = [{ subnet: `10.${n}.0.0/24` }]
    if (six) config.push({ subnet: `fd00:${n}::/64` })
    const icc = isolated ? { 'com.docker.network.bridge.enable_icc': 'false' } : {}
    const driver_opts = { ...options, ...icc }
    return [name, { internal, enable_ipv6: six, ipam: { config }, driver_opts }]
  })
  const sandboxEntries = sandboxes.map((sandbox) => [
    sandbox.name,
    {
      netns: sandbox.name,
      networks: Object.fromEntries(
        sandbox.networks.map((n) => [`net${n}`, { ipv4_address: address4(sandbox, n) }]),
      ),
    },
  ])
  return JSON.stringify({
    name: 'sim',
    networks: Object.fromEntries(networkEntries),
    sandboxes: Object.fromEntries(sandboxEntries),
    routes,
  })
}

export function address4({ n }: Pick<SandboxPlan, 'n'>, network: number): string {
  return `10.${network}.0.${10 + n}`
}

/** Whether `a` gets an echo from `b`'s address in network `d`. */
export function reaches(
  world: World,
  a: SandboxPlan,
  b: SandboxPlan,
  d: number,
  six: boolean,
): boolean {
  const network = byNumber(world, d)
  if (six && !network.six) return false
  if (a.networks.includes(d)) return !network.isolated
  const out = defaultOf(world, a, six)
  if (out === undefined || network.internal) return false
  if (network.separate && byNumber(world, out).separate) return false
  // The answer goes to the address that `a` has towards its default gateway.
  if (b.networks.includes(out)) return !byNumber(world, out).isolated
  // It leaves by the default route, where a source of another network is not let through.
  return defaultOf(world, b, six) === d
}

/** Whether `a` gets an echo from the gateway of network `d`. */
export function reachesGateway(world: World, a: SandboxPlan, d: number, six: boolean): boolean {
  const network = byNumber(world, d)
  if (six && !network.six) return false
  if (a.networks.includes(d)) return true
  return !network.internal && defaultOf(world, a, six) !== undefined
}

function byNumber({ networks }: World, n: number): NetworkPlan {
  return networks.find((network) => network.n === n)!
}

/** The default route goes by the first network of the family that is not internal. */
function defaultOf(world: World, { networks }: SandboxPlan, six: boolean): number | undefined {
  return networks.find((n) => {
    const network = byNumber(world, n)
    return !network.internal && (!six || network.six)
  })
}
