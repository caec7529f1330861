/** Tunnel ends find out what a path carries that drops larger packets without a word. */
import { expect, test } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { MemoryNet, type WireFaults } from '../../stack/udp/memory_net.ts'
import type { MemoryUnderlay } from '../../stack/udp/memory_underlay.ts'
import { HELLO_BYTES, HELLO_MS, Hello } from '../../stack/vxlan/hello.ts'
import { BEHIND_MS, RAISE_MS, TRIES } from '../../stack/vxlan/path_probe.ts'

/** What is too large was tried, and one step too many of the climb; round trips are short. */
const FOUND_MS = 2 * TRIES * (BEHIND_MS + 20) + 1000
/** Abilities of a node of an older version: open checksums. */
const OLDER = 1

class Lab {
  readonly clock: VirtualClock = new VirtualClock()
  readonly pool: Pool = new Pool({ smallCount: 2048, largeCount: 64, checked: true })
  readonly net: MemoryNet
  readonly ends: readonly MemoryUnderlay[]
  /** By end: what it was told of paths. */
  readonly told: number[][] = []
  /** By end: octets of padded datagrams that it sent, and when. */
  readonly tried: { readonly bytes: number; readonly atMs: number }[][] = []
  readonly #hellos: Hello[] = []
  readonly #random: Random

  constructor(faults: WireFaults, o: { count?: number; mtuBytes?: number; seed?: number } = {}) {
    this.#random = new Random(o.seed ?? 3)
    this.net = new MemoryNet({ clock: this.clock, random: this.#random })
    this.net.setFaults({ delayMs: 10, ...faults })
    this.ends = Array.from({ length: o.count ?? 2 }, (_, i) => this.#open(i, o.mtuBytes ?? 1500))
  }

  #open(i: number, mtuBytes: number): MemoryUnderlay {
    const { pool } = this
    const address = parseAddress(`10.200.0.${i + 1}`)
    const underlay = this.net.open({ pool, address, udpPort: 4789, mtuBytes })
    const told: number[] = []
    const tried: { bytes: number; atMs: number }[] = []
    underlay.onPathMtu = (_peer, bytes) => told.push(bytes)
    const probe = underlay.probe.bind(underlay)
    underlay.probe = (packet, peer) => {
      tried.push({ bytes: packet.len + 28, atMs: this.clock.nowMs })
      probe(packet, peer)
    }
    underlay.onDatagram = (packet) => pool.free(packet)
    this.told.push(told)
    this.tried.push(tried)
    return underlay
  }

  /** An end of ours, whose only peer is the first; the first has all. */
  start(i: number): void {
    const { pool, clock, ends } = this
    const underlay = ends[i]!
    const hello = new Hello({ pool, clock, random: this.#random, underlay })
    this.#hellos.push(hello)
    underlay.onDatagram = (packet, peer) => hello.receive(packet, peer)
    for (const far of i === 0 ? ends.slice(1) : ends.slice(0, 1)) {
      underlay.addPeer({ address: far.address, udpPort: 4789 })
    }
  }

  startAll(): void {
    for (const i of this.ends.keys()) this.start(i)
  }

  run(ms: number): void {
    const until = this.clock.nowMs + ms
    do while (this.ends.reduce((sum, end) => sum + end.poll(64), 0) > 0);
    while (this.clock.step(until))
    this.clock.jump(until)
  }

  faults(faults: WireFaults): void {
    this.net.setFaults({ delayMs: 10, ...faults })
  }

  paths(): number[] {
    return this.ends.map((end) => end.pathMtuBytes(0))
  }

  close(): void {
    for (const hello of this.#hellos) hello.close()
    for (const end of this.ends) end.close()
    expect(this.pool.leaks()).toEqual([])
    expect(this.clock.pending).toBe(0)
  }
}

test('a silent path is found within seconds, told once, and tried again after minutes', () => {
  const lab = new Lab({ mtuBytes: 1400, silent: true })
  lab.startAll()
  lab.run(FOUND_MS)
  expect(lab.paths()).toEqual([1400, 1400])
  expect(lab.ends[0]!.hostPathBytes(0)).toBe(1500)
  lab.run(RAISE_MS + HELLO_MS)
  expect(lab.told).toEqual([[1400], [1400]])
  lab.faults({})
  lab.run(RAISE_MS + HELLO_MS)
  expect(lab.told).toEqual([
    [1400, 1500],
    [1400, 1500],
  ])
  lab.close()
})

test('a path that becomes narrower, or a little wider, is found as well', () => {
  const lab = new Lab({})
  lab.startAll()
  lab.run(FOUND_MS)
  expect(lab.told).toEqual([[], []])
  for (const [mtuBytes, withinMs] of [
    [1450, HELLO_MS],
    [1300, HELLO_MS],
    [1472, RAISE_MS + HELLO_MS],
    [1000, HELLO_MS],
  ] as const) {
    lab.faults({ mtuBytes, silent: true })
    lab.run(withinMs + FOUND_MS)
    // 1,300 is no step, and below the floor nothing is tried.
    const found = { 1300: 1280, 1000: 1280 }[mtuBytes as number] ?? mtuBytes
    expect(lab.paths()).toEqual([found, found])
  }
  expect(Math.min(...lab.tried.flat().map(({ bytes }) => bytes))).toBe(1280)
  lab.close()
})

test.each([
  [9000, 9000],
  [4352, 4352],
  [1500, 1500],
  [8999, 8950],
])('jumbo frames on a path of %i', (mtuBytes, found) => {
  const lab = new Lab({ mtuBytes, silent: true }, { mtuBytes: 9000 })
  lab.startAll()
  lab.run(FOUND_MS)
  expect(lab.paths()).toEqual([found, found])
  expect(lab.told[0]).toEqual(found === 9000 ? [] : [found])
  lab.close()
})

test('what the host was told needs no limit', () => {
  const lab = new Lab({ mtuBytes: 1400 })
  lab.startAll()
  lab.run(FOUND_MS)
  expect(lab.paths()).toEqual([1400, 1400])
  expect(lab.ends[0]!.hostPathBytes(0)).toBe(1400)
  expect(lab.told).toEqual([[1400], [1400]])
  lab.close()
})

test.each([1, 4])('loss is no narrow path: seed %i', (seed) => {
  const lab = new Lab({ lossPct: 10 }, { seed })
  lab.startAll()
  lab.run(4 * 3_600_000)
  expect(lab.told).toEqual([[], []])
  lab.close()
})

test('a path that is cut while it is tried is not judged', () => {
  const lab = new Lab({ mtuBytes: 1400, silent: true })
  lab.startAll()
  lab.run(2 * BEHIND_MS)
  lab.faults({ partitioned: true })
  lab.run(10 * HELLO_MS)
  expect(lab.told).toEqual([[], []])
  lab.faults({ mtuBytes: 1400, silent: true })
  lab.run(HELLO_MS + FOUND_MS)
  expect(lab.paths()).toEqual([1400, 1400])
  lab.close()
})

test('who is gone for long, or comes back under its number, is judged afresh', () => {
  const lab = new Lab({ mtuBytes: 1400, silent: true })
  lab.startAll()
  lab.run(FOUND_MS)
  lab.faults({ partitioned: true })
  lab.run(5 * HELLO_MS)
  expect(lab.paths()).toEqual([1500, 1500])
  lab.faults({ mtuBytes: 1400, silent: true })
  lab.run(HELLO_MS + FOUND_MS)
  expect(lab.paths()).toEqual([1400, 1400])
  const [first, second] = lab.ends
  first!.removePeer(0)
  first!.addPeer({ address: second!.address, udpPort: 4789 })
  expect(lab.paths()).toEqual([1500, 1400])
  lab.run(FOUND_MS)
  expect(lab.paths()).toEqual([1400, 1400])
  lab.close()
})

/** Answers small questions, as an older version does. */
function answerAsOlder(lab: Lab, end: MemoryUnderlay): void {
  const { mem } = lab.pool
  const to = end.addPeer({ address: lab.ends[0]!.address, udpPort: 4789 })
  end.onDatagram = (packet: Packet) => {
    if (packet.len !== HELLO_BYTES || mem[packet.head + 9] !== 0) return lab.pool.free(packet)
    mem[packet.head + 9] = 1
    mem[packet.head + 10] = OLDER
    end.send(packet, to, HELLO_BYTES, 0)
  }
}

test('a node of an older version, and who is none of ours, are sent nothing large', () => {
  const lab = new Lab({ mtuBytes: 1400, silent: true }, { count: 3 })
  const abilities: boolean[] = []
  lab.ends[0]!.setOpenChecksums = (peer?: number, on?: boolean) => {
    abilities[peer!] = on!
  }
  lab.start(0)
  answerAsOlder(lab, lab.ends[1]!)
  lab.run(10 * HELLO_MS)
  expect(abilities).toEqual([true, false])
  expect(lab.tried[0]).toEqual([])
  expect(lab.told[0]).toEqual([])
  lab.close()
})

test('a padded question is answered with a small answer', () => {
  const lab = new Lab({})
  lab.start(0)
  const sizes: number[] = []
  const asks = lab.ends[1]!
  const to = asks.addPeer({ address: lab.ends[0]!.address, udpPort: 4789 })
  asks.onDatagram = (packet) => {
    if (lab.pool.mem[packet.head + 9] === 1) sizes.push(packet.len)
    lab.pool.free(packet)
  }
  for (const bytes of [HELLO_BYTES, HELLO_BYTES + 1, 600, 1472]) {
    const packet = lab.pool.alloc(bytes)!
    packet.len = bytes
    lab.pool.mem.fill(0, packet.head, packet.head + bytes)
    lab.pool.mem.set([0, 0, 0, 0, 0x74, 0x61, 0x70, 0x6c, 1, 0, 3, 0, 1, 2, 3, 4], packet.head)
    asks.probe(packet, to)
  }
  lab.run(1000)
  expect(sizes).toEqual([HELLO_BYTES, HELLO_BYTES, HELLO_BYTES, HELLO_BYTES])
  lab.close()
})

test('many narrow paths at once: no storm, and each has its turn', () => {
  const count = 100
  const lab = new Lab({ mtuBytes: 1400, silent: true }, { count: count + 1 })
  lab.startAll()
  lab.run(4 * FOUND_MS + HELLO_MS)
  const [first] = lab.ends
  for (let peer = 0; peer < count; peer++) expect(first!.pathMtuBytes(peer)).toBe(1400)
  // A full size is tried again after this time at the earliest, and by 32 at once.
  const tries = lab.tried[0]!.filter(({ bytes }) => bytes === 1500)
  for (const { atMs } of tries) {
    const near = tries.filter((other) => other.atMs >= atMs && other.atMs < atMs + BEHIND_MS)
    expect(near.length).toBeLessThanOrEqual(32)
  }
  lab.close()
})
