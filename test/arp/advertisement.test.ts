/**
 * RFC 4861 §7.2.5, "Receipt of Neighbor Advertisements", row by row: what an advertisement does
 * to an entry, by the entry's state, the S and O flags, and the link-layer address it carries.
 */
import { describe, expect, it } from 'vitest'
import {
  A,
  ALL_NODES,
  B,
  dataFrame,
  GATEWAY,
  type NdFields,
  NeighborLab,
  ndFrame,
  O,
  S,
} from './lab.ts'

const ADDRESS = 'fd00:1::11'
const BASE = { type: 136, src: ADDRESS, target: ADDRESS, etherSrc: A }

type State = 'none' | 'incomplete' | 'reachable' | 'stale' | 'delay' | 'probe'

/** `mac`: none, the one that is known (A), or another (B). */
interface Row {
  readonly from: State
  readonly flags: number
  readonly mac: 'none' | 'same' | 'other'
  readonly to: State
  readonly at: string | undefined
}

const KNOWN = ['reachable', 'stale', 'delay', 'probe'] as const

const ROWS: Row[] = [
  // No entry: discarded.
  { from: 'none', flags: S | O, mac: 'same', to: 'none', at: undefined },
  // Incomplete without a link-layer address: discarded. Else recorded; O has no effect.
  { from: 'incomplete', flags: S | O, mac: 'none', to: 'incomplete', at: undefined },
  { from: 'incomplete', flags: S, mac: 'same', to: 'reachable', at: A },
  { from: 'incomplete', flags: S | O, mac: 'same', to: 'reachable', at: A },
  // Stale, but a packet waited: it was sent, so the state is delay (§7.3.3).
  { from: 'incomplete', flags: O, mac: 'same', to: 'delay', at: A },
  { from: 'incomplete', flags: 0, mac: 'same', to: 'delay', at: A },
  // I a: O clear, another address: reachable becomes stale, nothing else is updated.
  { from: 'reachable', flags: 0, mac: 'other', to: 'stale', at: A },
  { from: 'reachable', flags: S, mac: 'other', to: 'stale', at: A },
  // I b: otherwise ignored.
  ...(['stale', 'delay', 'probe'] as const).flatMap((from): Row[] => [
    { from, flags: 0, mac: 'other', to: from, at: A },
    { from, flags: S, mac: 'other', to: from, at: A },
  ]),
  // II: O set, the same address, or none.
  ...KNOWN.flatMap((from): Row[] => [
    { from, flags: S | O, mac: 'other', to: 'reachable', at: B },
    { from, flags: O, mac: 'other', to: 'stale', at: B },
    { from, flags: S | O, mac: 'same', to: 'reachable', at: A },
    { from, flags: S, mac: 'same', to: 'reachable', at: A },
    { from, flags: S, mac: 'none', to: 'reachable', at: A },
    { from, flags: S | O, mac: 'none', to: 'reachable', at: A },
    { from, flags: O, mac: 'same', to: from, at: A },
    { from, flags: 0, mac: 'same', to: from, at: A },
    { from, flags: O, mac: 'none', to: from, at: A },
    { from, flags: 0, mac: 'none', to: from, at: A },
  ]),
]

function advertise(lab: NeighborLab, flags: number, mac: string | undefined): void {
  const solicited = (flags & S) !== 0
  const to = solicited
    ? { dst: 'fd00:1::1', etherDst: GATEWAY }
    : { dst: 'ff02::1', etherDst: ALL_NODES }
  const fields: NdFields = { ...BASE, ...to, flags, ...(mac === undefined ? {} : { mac }) }
  lab.receive(ndFrame(fields))
}

/** Bring a new lab's entry into a state. */
function labIn(state: State): NeighborLab {
  const lab = new NeighborLab()
  if (state === 'none') return lab
  lab.send(ADDRESS, 1)
  if (state === 'incomplete') return lab
  advertise(lab, S | O, A)
  if (state === 'reachable') return lab
  lab.wait(45_000)
  if (state === 'stale') return lab
  lab.send(ADDRESS, 2)
  if (state === 'probe') lab.wait(5_000)
  return lab
}

describe('an advertisement', () => {
  it.each(ROWS)('$from, flags $flags, $mac address -> $to', ({ from, flags, mac, to, at }) => {
    const lab = labIn(from)
    expect(lab.state(ADDRESS) ?? 'none').toBe(from)
    const waiting = from === 'incomplete'
    lab.take()
    advertise(lab, flags, mac === 'none' ? undefined : mac === 'same' ? A : B)
    expect(lab.state(ADDRESS) ?? 'none').toBe(to)
    expect(lab.macOf(ADDRESS)).toBe(at)
    expect(lab.take()).toEqual(waiting && at ? [dataFrame(at, 6, 1)] : [])
    expect(lab.neighbors.list()).toHaveLength(from === 'none' ? 0 : 1)
    lab.balance()
  })

  it('confirms nothing unless it is addressed to us', () => {
    const lab = labIn('stale')
    const flags = S | O
    lab.receive(ndFrame({ ...BASE, dst: 'fd00:1::12', etherDst: B, flags, mac: A }))
    expect(lab.state(ADDRESS)).toBe('stale')
    lab.balance()
  })
})
