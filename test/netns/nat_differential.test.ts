/**
 * Translation against nftables': the same conversations through both, over raw sockets at the ends.
 * The same packets must reach the same stations, with addresses translated alike in headers and in
 * what ICMP errors quote, and with right checksums. Left out are the ports that a translator may
 * choose, and identifications.
 *
 * What the two do differently on purpose is in docs/nat.md, and `EXPECTED` is that list: each must
 * show itself here, and nothing else may.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../../stack/random.ts'
import { hasTool, Lab } from './lab.ts'
import {
  type Bed,
  EXTERNAL,
  GATEWAYS,
  INSIDE,
  kernelBed,
  OUTSIDE,
  ourBed,
  STATIONS,
  type StationName,
} from './nat_differential/bed.ts'
import { DAMAGED, type Event } from './nat_differential/conversation.ts'
import {
  build,
  complete,
  frameOf,
  describe as inWords,
  isFragment,
  join,
  tupleOf,
} from './nat_differential/packet.ts'
import { KNOWN_PORTS, Script } from './nat_differential/script.ts'

const EXPECTED = {
  'invalid-to-self': 'the kernel takes what is invalid for its own and resets it; we drop it',
  'below-window': 'the kernel lets segments below the window pass, as late copies; we drop them',
  damaged: 'the kernel verifies transport checksums; we leave that to the receiver',
  refused: 'the kernel forgets a refused connection at once; we know it for ten seconds more',
  untracked: 'between our networks nothing is refused, and no port avoided, for the sake of others',
} as const
type Excuse = keyof typeof EXPECTED

/** Why the two may differ about this; undefined: they may not. */
function excuse(
  { what, conversation: { kind } }: Event,
  theirs: readonly string[],
  ours: readonly string[],
): Excuse | undefined {
  const isStray = / far (above|below) the window$/.test(what)
  if (what.endsWith(DAMAGED) && theirs.length === 0) return 'damaged'
  if (what.includes('server segment 20')) return 'refused'
  if (kind === 'routed' && theirs.length === 0) return 'untracked'
  if (isStray && ours.length === 0) {
    if (theirs.every(isReset)) return 'invalid-to-self'
    return what.endsWith('below the window') ? 'below-window' : undefined
  }
  if (kind === 'hairpin' || kind === 'routed') {
    const isSame = anySource(theirs) === anySource(ours)
    return isSame && theirs.length > 0 ? 'untracked' : undefined
  }
  return undefined
}

function isReset(text: string): boolean {
  return / flags 4 window 0 /.test(text)
}

function anySource(all: readonly string[]): string {
  return all.join().replaceAll(/: (tcp|udp) \S+ \S+ >/g, ': $1 any >')
}

const EVENTS = 3000
/** A busy machine may take so long. */
const PATIENCE_MS = 150
const LIMIT_MS = 120_000

interface Heard {
  readonly station: StationName
  readonly packet: Uint8Array
}

/** A port at the translator's own address that it does not publish, it has chosen. */
function name(address: string, port: number): string {
  const outer = address === EXTERNAL[4] || address === EXTERNAL[6]
  return outer && !KNOWN_PORTS.has(port) ? 'chosen' : `${port}`
}

/** Of the pings that follow each event: their answers say that the event is done with. */
const MARK_ID = 9

function mark(from: StationName): Uint8Array {
  const source = from === 'out' ? OUTSIDE[4] : INSIDE[from][4]
  const ends = { from: source, fromPort: MARK_ID, to: GATEWAYS[from][4], toPort: MARK_ID }
  return build({ protocol: 'icmp', ...ends }, { data: new Uint8Array(8) })
}

/** Take what has come; true if the answer to the mark is among it. */
function receiveAll(bed: Bed, heard: Heard[]): boolean {
  let isDone = false
  for (const station of STATIONS) {
    const { socket } = bed.stations[station]
    for (let got = socket.receive(); got !== undefined; got = socket.receive()) {
      const frame = complete(got.bytes, got.vnet)
      if (isHousekeeping(frame)) continue
      const packet = frame.subarray(14)
      const tuple = tupleOf(packet)
      if (tuple?.protocol === 'icmp' && tuple.fromPort === MARK_ID) isDone = true
      else heard.push({ station, packet })
    }
  }
  return isDone
}

/** ARP, neighbor and router discovery, MLD. */
function isHousekeeping(frame: Uint8Array): boolean {
  if (frame[12] === 8) return frame[13] !== 0
  if (frame[14 + 6] === 0) return true
  const type = frame[14 + 6] === 58 ? frame[54]! : 0
  return type >= 130 && type <= 143
}

/** Fragments are compared by what they are parts of: each may cut in its own way. */
function whole(heard: readonly Heard[]): Heard[] {
  const parts = heard.filter(({ packet }) => isFragment(packet))
  if (parts.length === 0) return [...heard]
  const packet = join(parts.map((one) => one.packet))
  const rest = heard.filter(({ packet: one }) => !isFragment(one))
  return packet === undefined ? rest : [...rest, { station: parts[0]!.station, packet }]
}

function words(heard: readonly Heard[]): string[] {
  return whole(heard)
    .map(({ station, packet }) => `${station}: ${inWords(packet, name)}`)
    .sort()
}

/** Give both the event; what each has delivered when it is done, or has taken too long. */
async function play(beds: readonly [Bed, Bed], event: Event): Promise<[string[], string[]]> {
  const heard: [Heard[], Heard[]] = [[], []]
  for (const bed of beds) {
    const station = bed.stations[event.from]
    for (const packet of [...event.packets(bed.name), mark(event.from)]) {
      station.socket.send(frameOf(station, packet))
    }
  }
  const untilMs = performance.now() + PATIENCE_MS
  const done = [false, false]
  let said: [string[], string[]] = [[], []]
  while (performance.now() < untilMs) {
    for (const i of [0, 1] as const) done[i] = receiveAll(beds[i], heard[i]) || done[i]!
    said = [words(heard[0]), words(heard[1])]
    if (done[0]! && done[1]! && said[0].join() === said[1].join()) break
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  if (said[0].join() !== said[1].join()) return said
  for (const [i, bed] of beds.entries()) {
    for (const { station, packet } of whole(heard[i]!)) event.heard(bed.name, station, packet)
  }
  return said
}

describe.runIf(hasTool('nft', 'nftables'))('NAT against nftables', () => {
  const lab = new Lab()
  let beds: readonly [Bed, Bed]

  beforeAll(async () => {
    beds = [kernelBed(lab), await ourBed(lab)]
  })
  afterAll(() => lab.close())

  it('the same packets at the same stations', { timeout: LIMIT_MS }, async () => {
    const script = new Script(new Random(7))
    const faults: string[] = []
    const seen = new Set<Excuse>()
    const counts = { delivered: 0, silent: 0 }
    for (let i = 0; i < EVENTS && faults.length < 25; i++) {
      const event = script.next()
      const [theirs, ours] = await play(beds, event)
      counts[theirs.length > 0 ? 'delivered' : 'silent']++
      if (ours.join() === theirs.join()) continue
      const why = excuse(event, theirs, ours)
      if (why !== undefined) {
        seen.add(why)
        event.conversation.phase = 'over'
        continue
      }
      const list = (all: readonly string[]): string => all.join('\n      ') || 'nothing'
      faults.push(`${i} ${event.what}\n kernel ${list(theirs)}\n ours   ${list(ours)}`)
    }
    expect(faults.join('\n')).toBe('')
    expect([...seen].sort()).toEqual(Object.keys(EXPECTED).sort())
    expect(counts.delivered).toBeGreaterThan(EVENTS / 2)
    expect(counts.silent).toBeGreaterThan(EVENTS / 50)
  })
})
