/**
 * Snooping beside the kernel's: the same reports, leaves, questions and group frames into a kernel
 * bridge and into ours from the same state, by a seed. Each frame must come out of the same ports,
 * and at the end the same members must be known.
 *
 * The differences known and meant are in docs/multicast.md, and `EXPECTED` is that list: each must
 * show itself here, and nothing else may.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { Random } from '../../stack/random.ts'
import {
  Both,
  PORTS,
  type PortName,
  type Reach,
  type Versions,
} from './snooping_differential/both.ts'
import { ANSWER_MS, DIFFERENCES, type Difference } from './snooping_differential/differences.ts'
import {
  type Event,
  general,
  NOWHERE,
  QUERIERS,
  question,
  Script,
  SOURCE_GROUPS,
} from './snooping_differential/script.ts'

const EXPECTED = {
  'told-to-all': 'the kernel floods leaves, and the reports of IGMPv3 and MLDv2',
  sources: 'the kernel of the new versions lets a group pass from the sources wanted only',
} as const
type Excuse = keyof typeof EXPECTED

const EVENTS = 800
/** How many events there are for each question to all of a group, which takes two seconds. */
const EVENTS_A_QUESTION = 100
/** When a multicast router is heard behind a port that then gets every group of IPv4. */
const HELLOS: ReadonlyMap<number, PortName> = new Map([
  [500, 'fast'],
  [650, 'slow'],
])
const QUESTION_MS = 2000
const LIMIT_MS = 90_000

/** Which questions and hellos came by a port, by family. */
type Routers = readonly [Set<PortName>, Set<PortName>]

function excuse({ kind, from, bytes }: Event, reach: Reach, routers: Routers): Excuse | undefined {
  if (kind === 'report 3' || kind === 'leave 1') {
    const others = PORTS.filter((name) => name !== from)
    const meant = others.filter((name) => routers[bytes[12] === 0x86 ? 1 : 0].has(name))
    const isMeant = reach.ours === (meant.join(' ') || 'nobody')
    return isMeant && reach.kernel === others.join(' ') ? 'told-to-all' : undefined
  }
  if (kind !== 'source data') return undefined
  const ours = reach.ours.split(' ')
  const isMore = reach.kernel === 'nobody' || reach.kernel.split(' ').every((p) => ours.includes(p))
  return isMore ? 'sources' : undefined
}

let both: Both | undefined
afterEach(() => {
  both?.close()
  both = undefined
})

class Comparison {
  readonly faults: string[] = []
  readonly seen = new Set<Excuse>()
  readonly counts = { same: 0, held: 0 }
  readonly #rig: Both
  readonly #routers: Routers = [new Set(['q', 'always']), new Set(['q', 'always'])]

  constructor(rig: Both) {
    this.#rig = rig
  }

  play(event: Event): void {
    if (event.kind === 'hello') this.#routers[0].add(event.from)
    const reach = this.#rig.send(event.from, event.bytes)
    if (reach.kernel === reach.ours) {
      this.counts.same++
      if (event.kind === 'data' && reach.ours.split(' ').length < PORTS.length - 1) {
        this.counts.held++
      }
      return
    }
    const why = excuse(event, reach, this.#routers)
    if (why !== undefined) this.seen.add(why)
    else {
      const text = `${event.kind} from ${event.from}, ${event.what}`
      this.faults.push(`${text}: kernel ${reach.kernel}; ours ${reach.ours}`)
    }
  }
}

async function compare(versions: Versions, seed: number): Promise<Set<Excuse>> {
  const rig = new Both(versions)
  both = rig
  const comparison = new Comparison(rig)
  const script = new Script(new Random(seed), versions)
  for (const family of [0, 1]) comparison.play(general(family))
  await rig.wait(1000)
  for (let count = 1; count <= EVENTS && comparison.faults.length < 10; count++) {
    comparison.play(script.next())
    const router = HELLOS.get(count)
    if (router !== undefined) comparison.play(script.hello(router))
    if (count % EVENTS_A_QUESTION !== 0) continue
    const { asked, answers, group } = script.question()
    comparison.play(asked)
    for (const answer of answers) comparison.play(answer)
    comparison.play(script.probe('fast2', group))
    await rig.wait(QUESTION_MS)
    comparison.play(script.probe('fast2', group))
  }
  expect(comparison.faults).toEqual([])
  expect(comparison.counts.same).toBeGreaterThan(EVENTS / 2)
  expect(comparison.counts.held).toBeGreaterThan(EVENTS / 5)
  compareMembers(rig, versions)
  return comparison.seen
}

/** Members of groups from some sources are known to the new versions by source. */
function compareMembers(rig: Both, versions: Versions): void {
  const { kernel, ours } = rig.members()
  const isCompared = (text: string): boolean =>
    versions === 'old' || !SOURCE_GROUPS.includes(text.split(' ')[0]!)
  expect(ours.filter(isCompared)).toEqual(kernel.filter(isCompared))
  expect(ours.length).toBeGreaterThan(10)
}

describe('snooping against the kernel bridge', { timeout: LIMIT_MS }, () => {
  test('that goes by IGMPv2 and MLDv1: the same ports, the same members', async () => {
    const seen = await compare('old', 1)
    expect([...seen]).toEqual(['told-to-all'])
  })

  test('that goes by IGMPv3 and MLDv2: the same ports, the same members', async () => {
    const seen = await compare('new', 2)
    expect([...seen].sort()).toEqual(Object.keys(EXPECTED).sort())
  })
})

/** With both versions where it is so with both. */
const SHOWN: readonly (readonly [Versions, string, Difference])[] = DIFFERENCES.flatMap((one) => {
  const versions = one.versions === undefined ? (['old', 'new'] as const) : [one.versions]
  return versions.map((name) => [name, one.what, one] as const)
})

describe('what the kernel bridge takes otherwise', () => {
  test.each(SHOWN)('%s versions: %s', async (versions, _, { play, unasked, kernel, ours }) => {
    const rig = new Both(versions)
    both = rig
    if (unasked !== true) {
      for (const family of [0, 1] as const) {
        rig.send('q', question(QUERIERS[family], NOWHERE[family]!))
      }
      await rig.wait(ANSWER_MS)
    }
    expect(await play(rig)).toEqual({ kernel, ours })
  })
})
