/** What may happen in a simulation, besides another configuration and the passing of time. */
import { StackError } from '../../stack/errors.ts'
import type { CableFaults } from '../../stack/eth/lane.ts'
import type { Random } from '../../stack/random.ts'
import { corpus, type Frame, type Parties } from '../fuzz/corpus.ts'
import { mutate } from '../fuzz/mutate.ts'
import type { Lab } from './lab.ts'

/** Where every host listens. */
export const PORT = 7

export function datagrams(lab: Lab): void {
  const random = lab.random
  const count = 1 + random.below(20)
  lab.acts.push(`${count} datagrams`)
  for (let i = 0; i < count; i++) {
    const host = lab.one(lab.hosts())
    if (host === undefined) return
    const bytes = [8, 100, 1400, 1472, 4000, random.below(9000), 60_000][random.below(7)]!
    const data = pattern(bytes, random.chance(30))
    const options = random.chance(20)
      ? { segmentBytes: 200 + random.below(1200) }
      : { dontFragment: random.chance(20), ttl: random.chance(10) ? 1 : 64 }
    const socket = host.udp()
    try {
      socket.send(data, lab.target(), PORT, 'segmentBytes' in options ? {} : options)
      if ('segmentBytes' in options) socket.send(data, lab.target(), 9, options)
    } catch (error) {
      // No route: this host has no way there. No memory: the pool is small on purpose.
      const { code } = error as StackError
      if (code !== 'not-found' && code !== 'exhausted') throw error
    }
    socket.close()
  }
}

export function ping(lab: Lab): void {
  const host = lab.one(lab.hosts())
  const to = lab.target()
  lab.acts.push(`ping ${host?.name} to ${to}`)
  const options = { bytes: lab.random.below(3000), timeoutMs: 3000 }
  void host?.ping(to, options).then(
    () => lab.pings++,
    () => {},
  )
}

/** Frames of every kind and damaged ones, from where a sandbox is. */
export function throwFrames(lab: Lab): void {
  const random = lab.random
  const cable = lab.cable()
  const parties = lab.parties()
  if (cable === undefined || parties === undefined) return
  const all = corpusOf(parties)
  const count = 1 + random.below(30)
  lab.acts.push(`${count} frames into ${cable.name}`)
  for (let i = 0; i < count; i++) {
    const frame = all[random.below(all.length)]!
    const other = all[random.below(all.length)]!
    lab.inject(cable, random.chance(40) ? frame : mutate(random, frame, other))
  }
}

export function injectFaults(lab: Lab): void {
  const random = lab.random
  const cable = lab.cable()
  if (cable === undefined) return
  const faults = drawFaults(random, lab.corrupting)
  lab.acts.push(`faults of ${cable.name}: ${JSON.stringify(faults)}`)
  if (random.chance(30)) cable.a.setFaults(faults)
  else cable.setFaults(faults)
}

/** Whatever a cable or a wire may do to frames. */
export function drawFaults(random: Random, corrupting: boolean): CableFaults {
  const some = (pct: number, value: number): number => (random.chance(pct) ? value : 0)
  return {
    delayMs: some(50, random.below(50)),
    jitterMs: some(30, random.below(20)),
    lossPct: some(50, random.below(60)),
    duplicatePct: some(30, random.below(50)),
    reorderPct: some(30, random.below(50)),
    corruptPct: corrupting ? some(50, random.below(20)) : 0,
    bandwidthBitsPerS: some(20, 100_000 + random.below(10_000_000)),
    queueFrames: 1 + random.below(50),
    partitioned: random.chance(10),
  }
}

/** A cable is pulled out; sometimes it is plugged in again, by an `apply` that changes nothing. */
export function cut(lab: Lab): void {
  const cable = lab.cable()
  if (cable === undefined) return
  lab.acts.push(`cut ${cable.name}`)
  lab.links.cut(cable.name)
}

/** A trace goes through the real elements and must change nothing at all. */
export function trace(lab: Lab): void {
  const random = lab.random
  const from = lab.one(lab.world.sandboxes)?.name
  if (from === undefined) return
  const request = {
    from,
    to: lab.target(),
    proto: (['icmp', 'udp', 'tcp'] as const)[random.below(3)]!,
    size: random.below(3000),
    df: random.chance(50),
    ttl: random.chance(20) ? 1 : 64,
    arp: random.chance(10),
  }
  lab.acts.push(`trace ${JSON.stringify(request)}`)
  lab.driver.pass(0)
  const before = lab.snapshot()
  try {
    const { ends } = lab.controller.trace(request)
    if (ends.length === 0) lab.faults.push('a trace without an end')
  } catch (error) {
    if (!(error instanceof StackError)) throw error
  }
  lab.driver.settle()
  if (lab.snapshot() !== before) lab.faults.push('a trace changed something')
}

/** Building a corpus takes longer than a simulation, and the same parties come again. */
const corpora = new Map<string, Frame[]>()
function corpusOf(parties: Parties): Frame[] {
  const key = Object.values(parties).join()
  const known = corpora.get(key)
  if (known !== undefined) return known
  const made = corpus(parties)
  if (corpora.size < 200) corpora.set(key, made)
  return made
}

/** Octets that say what they should be; the first: whether an answer is wanted. */
export function pattern(bytes: number, answer: boolean): Uint8Array {
  const data = new Uint8Array(bytes)
  for (let i = 0; i < bytes; i++) data[i] = i * 13 + bytes
  if (bytes > 0) data[0] = answer ? 1 : 0
  return data
}
