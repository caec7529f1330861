/**
 * What is asked of gossip: how fast, how much, how large; each as one run of a world.
 *
 * `spread` is put to clusters of 10 to 1,000 nodes, beside what theory says of epidemics and of
 * SWIM; `stress` to one large cluster, with everything that may go wrong in turn.
 */
import { Progress } from './progress.ts'
import { GossipWorld, type WorldNode } from './world.ts'

/** One network that all nodes are in. */
const VNI = 4097
const IDLE_MS = 20_000
/** Writes whose way is timed. */
const WRITES = 10
/** Nodes that die, one after another, and come back: how soon one is probed is chance. */
const DEATHS = 12
/** Until a node that came back has told that it is there. */
const REVIVAL_MS = 10_000

export interface Spread {
  readonly nodes: number
  /** From an announcement to the last node that heard it: median and worst of some. */
  readonly medianMs: number
  readonly worstMs: number
  /** From a node's death to the first that took it for dead, the mean of some deaths; */
  readonly firstFailMs: number
  /** to the last, their mean and the worst. */
  readonly lastFailMs: number
  readonly worstFailMs: number
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
 * Until a dead node is taken for dead, in the mean: the rest of the period of 1 s in which it died,
 * e/(e-1) periods until one of all nodes has probed it in vain, and a suspicion of 4 log10(n)
 * periods, memberlist's least: with as many probes as nodes in each period, two others confirm the
 * suspicion long before that is over.
 */
export function detectionTheoryMs(nodes: number): number {
  return 1000 * (0.5 + Math.E / (Math.E - 1)) + 4000 * Math.max(1, Math.log10(nodes))
}

export async function spread(nodes: number, seed: number): Promise<Spread> {
  const world = new GossipWorld(seed)
  const progress = new Progress(world, `${nodes} nodes`)
  await world.startMany(nodes, Math.max(20, nodes / 10), () => [VNI])
  progress.say('started')
  await settle(world, 120_000)
  progress.say('met')
  // Joining leaves checks behind; idle is what comes after.
  await world.run(60_000)
  const before = world.traffic()
  progress.say('idle')
  await world.run(IDLE_MS)
  const idle = world.traffic()
  progress.say('writes')
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
  const detected = await detections(world, progress)
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
    ...detected,
    idleMessagesPerS: perS(before.messages, idle.messages),
    idleBytesPerS: perS(before.bytes, idle.bytes),
    idleTableBytesPerS: perS(before.tableBytes, idle.tableBytes),
    writeMessages: extra('tableMessages'),
    writeBytes: extra('tableBytes'),
  }
}

type Detected = Pick<Spread, 'firstFailMs' | 'lastFailMs' | 'worstFailMs'>

/** Each node that dies comes back before the next one dies, so that the cluster keeps its size. */
async function detections(world: GossipWorld, progress: Progress): Promise<Detected> {
  const firsts: number[] = []
  const lasts: number[] = []
  for (let i = 0; i < DEATHS; i++) {
    progress.say(`death ${i + 1}`)
    const all = [...world.nodes.values()]
    const victim = all[world.random.below(all.length)]!
    // Not always in the same part of the others' periods.
    await world.run(world.random.below(1000))
    const times = await detection(world, victim)
    firsts.push(Math.min(...times))
    lasts.push(Math.max(...times))
    world.start(victim.number, [VNI])
    await world.run(REVIVAL_MS)
  }
  const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length
  return { firstFailMs: mean(firsts), lastFailMs: mean(lasts), worstFailMs: Math.max(...lasts) }
}

/** After how long each of the others took it for dead. */
async function detection(world: GossipWorld, victim: WorldNode): Promise<number[]> {
  const startMs = world.clock.nowMs
  const times: number[] = []
  const stops: (() => void)[] = []
  for (const node of world.nodes.values()) {
    if (node === victim) continue
    const stop = node.serf.subscribe({
      onMember: (event, { name }) => {
        if (event === 'fail' && name === victim.name) times.push(world.clock.nowMs - startMs)
      },
      onMessage: () => {},
    })
    stops.push(stop)
  }
  world.kill(victim)
  await world.until(() => times.length >= world.nodes.size, 120_000, 50)
  for (const stop of stops) stop()
  return times
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
  const progress = new Progress(world, `${nodes} nodes, ${endpoints} endpoints`)
  const phases: Phase[] = []
  const note = async (
    name: string,
    prepare: () => Promise<void>,
    limitMs = 300_000,
  ): Promise<void> => {
    const start = world.traffic()
    progress.say(name)
    await prepare()
    const ms = await world.until(() => progress.until(name, world.isAgreed()), limitMs, 100)
    const end = world.traffic()
    phases.push({
      name,
      ms,
      messages: (end.messages - start.messages) / nodes,
      bytes: (end.bytes - start.bytes) / nodes,
    })
    progress.say(`agreed after ${ms} ms`)
  }
  await world.startMany(nodes, 50, () => [VNI])
  progress.say('started')
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
  await note('10 s of churn, 100 changes a second', () => churn(world, 10_000, progress))
  await note('10 s of churn with 30 % loss', async () => {
    world.network.faults = { ...world.network.faults, lossPct: 30 }
    await churn(world, 10_000, progress)
  })
  world.network.faults = { ...world.network.faults, lossPct: 0 }
  await note('a partition of 30 s in halves, with churn', async () => {
    const sides: WorldNode['transport'][][] = [[], []]
    for (const [i, { transport }] of [...world.nodes.values()].entries())
      sides[i % 2]!.push(transport)
    world.network.partition(sides)
    await churn(world, 30_000, progress)
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
async function churn(world: GossipWorld, ms: number, progress: Progress): Promise<void> {
  const { random } = world
  const nodes = [...world.nodes.values()]
  const end = world.clock.nowMs + ms
  while (!progress.until('churn', world.clock.nowMs >= end)) {
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
