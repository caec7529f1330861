/**
 * What is asked of gossip: how fast, how much, how large; each as one run of a world.
 *
 * `spread` is put to clusters of 10 to 1,000 nodes, beside what theory says of epidemics and of
 * SWIM; `stress` to one large cluster, with everything that may go wrong in turn.
 */
import { GossipWorld, type WorldNode } from './world.ts'

/** One network that all nodes are in. */
const VNI = 4097
const IDLE_MS = 20_000
/** Writes whose way is timed. */
const WRITES = 10

export interface Spread {
  readonly nodes: number
  /** From an announcement to the last node that heard it: median and worst of some. */
  readonly medianMs: number
  readonly worstMs: number
  /** From a node's death to the first and to the last that took it for dead. */
  readonly firstFailMs: number
  readonly lastFailMs: number
  /** Of each node, with nothing to tell. */
  readonly idleMessagesPerS: number
  readonly idleBytesPerS: number
  /** What tables took of that. */
  readonly idleTableBytesPerS: number
  /** What one announcement cost each node: messages and octets of tables. */
  readonly writeMessages: number
  readonly writeBytes: number
}

/** Rounds of 200 ms until a rumor that each tells 3 others a round has reached all: Pittel's. */
export function theoryMs(nodes: number): number {
  return 200 * (Math.log(nodes) / Math.log(4) + Math.log(nodes) / 3)
}

/**
 * Until a dead node is taken for dead: e/(e-1) periods of 1 s until one of all nodes probes it, and
 * a suspicion of 4 log10(n) periods, as memberlist's.
 */
export function detectionTheoryMs(nodes: number): number {
  return 1000 * (Math.E / (Math.E - 1)) + 4000 * Math.max(1, Math.log10(nodes))
}

export async function spread(nodes: number, seed: number): Promise<Spread> {
  const world = new GossipWorld(seed)
  await world.startMany(nodes, Math.max(20, nodes / 10), () => [VNI])
  await settle(world, 120_000)
  // Joining leaves checks behind; idle is what comes after.
  await world.run(60_000)
  const before = world.traffic()
  await world.run(IDLE_MS)
  const idle = world.traffic()
  const idleMs = world.clock.nowMs
  const perS = (a: number, b: number): number => (b - a) / nodes / (IDLE_MS / 1000)
  const times: number[] = []
  const all = [...world.nodes.values()]
  for (let i = 0; i < WRITES; i++) {
    world.announce(all[world.random.below(all.length)]!, VNI, world.freshNumber())
    times.push((await world.until(() => world.isAgreed(), 60_000, 10)) ?? Number.NaN)
  }
  await world.run(IDLE_MS)
  const written = world.traffic()
  const elapsedMs = world.clock.nowMs - idleMs
  const { firstFailMs, lastFailMs } = await detection(world, all[nodes >> 1]!)
  world.close()
  const sorted = times.sort((a, b) => a - b)
  /** Beyond what would have been sent anyway. */
  const extra = (key: 'tableMessages' | 'tableBytes'): number => {
    const anyway = ((idle[key] - before[key]) / IDLE_MS) * elapsedMs
    return Math.max(0, written[key] - idle[key] - anyway) / nodes / WRITES
  }
  return {
    nodes,
    medianMs: sorted[sorted.length >> 1]!,
    worstMs: sorted[sorted.length - 1]!,
    firstFailMs,
    lastFailMs,
    idleMessagesPerS: perS(before.messages, idle.messages),
    idleBytesPerS: perS(before.bytes, idle.bytes),
    idleTableBytesPerS: perS(before.tableBytes, idle.tableBytes),
    writeMessages: extra('tableMessages'),
    writeBytes: extra('tableBytes'),
  }
}

async function detection(
  world: GossipWorld,
  victim: WorldNode,
): Promise<Pick<Spread, 'firstFailMs' | 'lastFailMs'>> {
  const startMs = world.clock.nowMs
  const times: number[] = []
  for (const node of world.nodes.values()) {
    if (node === victim) continue
    node.serf.subscribe({
      onMember: (event, { name }) => {
        if (event === 'fail' && name === victim.name) times.push(world.clock.nowMs - startMs)
      },
      onMessage: () => {},
    })
  }
  world.kill(victim)
  await world.until(() => times.length >= world.nodes.size, 120_000, 50)
  return { firstFailMs: Math.min(...times), lastFailMs: Math.max(...times) }
}

export interface Phase {
  readonly name: string
  /** Until all agreed. Undefined: they did not. */
  readonly ms: number | undefined
  /** Of each node, in that time. */
  readonly messages: number
  readonly bytes: number
}

export interface Stress {
  readonly nodes: number
  readonly endpoints: number
  readonly phases: readonly Phase[]
  readonly differences: readonly string[]
  /** Of the process, for one endpoint on one node, decoded and in the mirror. */
  readonly bytesPerEndpoint: number
}

/** Everything in turn; after each, the time until all agree. */
export async function stress(nodes: number, endpoints: number, seed: number): Promise<Stress> {
  const world = new GossipWorld(seed)
  const phases: Phase[] = []
  const note = async (
    name: string,
    prepare: () => Promise<void>,
    limitMs = 300_000,
  ): Promise<void> => {
    const start = world.traffic()
    await prepare()
    const ms = await world.until(() => world.isAgreed(), limitMs, 100)
    const end = world.traffic()
    phases.push({
      name,
      ms,
      messages: (end.messages - start.messages) / nodes,
      bytes: (end.bytes - start.bytes) / nodes,
    })
    process.stderr.write(`${name}: ${ms} ms\n`)
  }
  await world.startMany(nodes, 50, () => [VNI])
  await settle(world, 120_000)
  const heapBefore = heapBytes()
  await note('all endpoints at once', async () => {
    for (const node of world.nodes.values()) {
      for (let i = 0; i < endpoints / nodes; i++) world.announce(node, VNI, world.freshNumber())
    }
  })
  const bytesPerEndpoint = (heapBytes() - heapBefore) / nodes / endpoints
  await note('a new node joins', async () => {
    world.start(nodes + 1, [VNI])
  })
  await note('10 s of churn, 100 changes a second', () => churn(world, 10_000))
  await note('10 s of churn with 30 % loss', async () => {
    world.network.faults = { ...world.network.faults, lossPct: 30 }
    await churn(world, 10_000)
  })
  world.network.faults = { ...world.network.faults, lossPct: 0 }
  await note('a partition of 30 s in halves, with churn', async () => {
    const sides: WorldNode['transport'][][] = [[], []]
    for (const [i, { transport }] of [...world.nodes.values()].entries())
      sides[i % 2]!.push(transport)
    world.network.partition(sides)
    await churn(world, 30_000)
    world.network.heal()
  })
  await note('5 % of the nodes die', async () => {
    for (const node of [...world.nodes.values()].slice(0, nodes / 20)) world.kill(node)
  })
  const differences = world.differences()
  world.close()
  return { nodes, endpoints, phases, differences, bytesPerEndpoint }
}

async function settle(world: GossipWorld, limitMs: number): Promise<void> {
  const { nodes } = world
  const isWhole = (): boolean => {
    for (const node of nodes.values()) {
      if (node.mirrors.get(VNI)!.vteps.size !== nodes.size - 1) return false
    }
    return true
  }
  if ((await world.until(isWhole, limitMs)) === undefined) throw new Error('they did not meet')
}

/** A hundred changes a second: a third each announced, withdrawn, moved. */
async function churn(world: GossipWorld, ms: number): Promise<void> {
  const { random } = world
  const nodes = [...world.nodes.values()]
  const end = world.clock.nowMs + ms
  while (world.clock.nowMs < end) {
    const from = nodes[random.below(nodes.length)]!
    const numbers = [...from.own.get(VNI)!.endpoints.keys()]
    const number = numbers[random.below(Math.max(1, numbers.length))]
    const kind = random.below(3)
    if (kind === 0 || number === undefined) {
      world.announce(from, VNI, world.freshNumber())
    } else {
      world.withdraw(from, VNI, number)
      if (kind === 2) world.announce(nodes[random.below(nodes.length)]!, VNI, number)
    }
    await world.run(10)
  }
}

/** Exact only with --expose-gc. */
function heapBytes(): number {
  globalThis.gc?.()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
