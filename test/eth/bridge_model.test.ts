/**
 * The bridge against a naive one: a Map, plain arrays, and the rules of 802.1Q written down once
 * more. Random histories of frames, waits, static entries and ports must give the same octets out
 * of the same ports, and the same reason where nothing comes out.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { DropName } from '../../stack/drop.ts'
import type { BridgePortOptions } from '../../stack/eth/bridge_port.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { BROADCAST, BridgeLab, type Delivery, frame, hex, station, type Tag } from './bridge_lab.ts'

const AGE_MS = 1000
const PORTS: readonly Partial<BridgePortOptions>[] = [
  { vlan: { pvid: 1 } },
  { vlan: { pvid: 1 }, group: 1 },
  { vlan: { pvid: 2, tagged: [1] }, group: 1 },
  { vlan: { tagged: [1, 2, 3] }, isolated: true },
  { vlan: { pvid: 3, tagged: [3, 2] }, isolated: true },
  {},
]
const ADDRESSES = [
  ...[1, 2, 3, 4].map(station),
  BROADCAST,
  '01:00:5e:00:00:01',
  '01:80:c2:00:00:00',
  '01:80:c2:00:00:0f',
  '01:80:c2:00:00:10',
  '00:00:00:00:00:00',
  'fe:80:80:80:80:80',
]

type Operation =
  | { op: 'send'; port: number; dst: number; src: number; tags: readonly Tag[]; cut: number }
  | { op: 'wait'; ms: number }
  | { op: 'static'; port: number; mac: number; vid: number }
  | { op: 'unstatic'; mac: number }
  | { op: 'replace'; port: number }

const tag = fc.record({
  vid: fc.constantFrom(0, 1, 2, 3, 4, 4095),
  priority: fc.nat(7),
  tpid: fc.constantFrom(0x8100, 0x8100, 0x8100, 0x88a8),
})
const port = fc.nat(PORTS.length - 1)
const address = fc.nat(ADDRESSES.length - 1)
const send = fc.record({
  op: fc.constant('send' as const),
  port,
  dst: address,
  src: fc.oneof({ weight: 8, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: address }),
  tags: fc.array(tag, { maxLength: 2 }),
  cut: fc.oneof({ weight: 8, arbitrary: fc.constant(99) }, { weight: 1, arbitrary: fc.nat(22) }),
})
const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 20, arbitrary: send },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('wait' as const), ms: fc.nat(700) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('static' as const),
      port,
      mac: fc.nat(3),
      vid: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('unstatic' as const), mac: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('replace' as const), port }) },
)

interface Known {
  port: number
  seenMs: number
  static: boolean
}

/** Written for the reader: no byte offsets but in `read`, no shared code with the bridge. */
class NaiveBridge {
  nowMs = 0
  readonly known = new Map<string, Known>()
  readonly filtering: boolean
  /** Port numbers in the order in which they were added. */
  order: number[] = PORTS.map((_, number) => number)

  constructor(filtering: boolean) {
    this.filtering = filtering
  }

  vlan(number: number): {
    pvid: number | undefined
    carries: (vid: number) => boolean
    untagged: number
  } {
    const vlan = PORTS[number]!.vlan
    if (vlan === undefined)
      return { pvid: 1, carries: (vid) => vid >= 1 && vid <= 4094, untagged: 1 }
    const tagged = vlan.tagged ?? []
    const untagged = vlan.pvid !== undefined && !tagged.includes(vlan.pvid) ? vlan.pvid : -1
    return {
      pvid: vlan.pvid,
      carries: (vid) => vid === vlan.pvid || tagged.includes(vid),
      untagged,
    }
  }

  find(vid: number, mac: string): Known | undefined {
    const known = this.known.get(`${vid} ${mac}`)
    if (known === undefined || known.static) return known
    return this.nowMs - known.seenMs < AGE_MS ? known : undefined
  }

  receive(from: number, bytes: Uint8Array): Delivery[] | DropName {
    const text = hex(bytes)
    const tagged = text.slice(24, 28) === '8100'
    if (bytes.length < (tagged ? 18 : 14)) return 'frame-runt'
    const dst = text.slice(0, 12)
    const src = text.slice(12, 24)
    if ((bytes[6]! & 1) === 1 || /^0+$/.test(src)) return 'bridge-source-group'
    if (/^0180c200000.$/.test(dst)) return 'bridge-reserved-group'
    let vid = 0
    if (this.filtering) {
      const own = tagged ? Number.parseInt(text.slice(28, 32), 16) & 0xfff : 0
      if (own === 0 && this.vlan(from).pvid === undefined) return 'vlan-not-allowed'
      vid = own === 0 ? this.vlan(from).pvid! : own
      if (own !== 0 && !this.vlan(from).carries(own)) return 'vlan-not-allowed'
    }
    if (!this.find(vid, src)?.static) {
      this.known.set(`${vid} ${src}`, { port: from, seenMs: this.nowMs, static: false })
    }
    const to = (bytes[0]! & 1) === 1 ? undefined : this.find(vid, dst)
    if (to !== undefined) {
      return this.refusal(from, to.port, vid) ?? [this.leave(to.port, text, tagged, vid)]
    }
    const out = this.order.filter((number) => this.refusal(from, number, vid) === undefined)
    if (out.length === 0) return 'bridge-no-port'
    return out.map((number) => this.leave(number, text, tagged, vid))
  }

  refusal(from: number, to: number, vid: number): DropName | undefined {
    if (from === to) return 'bridge-same-port'
    const [a, b] = [PORTS[from]!, PORTS[to]!]
    if (a.isolated && b.isolated) return 'bridge-isolated'
    if (a.group !== undefined && a.group === b.group) return 'bridge-isolated'
    return this.filtering && !this.vlan(to).carries(vid) ? 'vlan-not-allowed' : undefined
  }

  leave(to: number, text: string, tagged: boolean, vid: number): Delivery {
    const port = `p${to}`
    if (!this.filtering) return { port, bytes: text }
    const rest = text.slice(tagged ? 32 : 24)
    if (this.vlan(to).untagged === vid) return { port, bytes: text.slice(0, 24) + rest }
    const priority = tagged ? Number.parseInt(text[28]!, 16) << 12 : 0
    const tci = (priority | vid).toString(16).padStart(4, '0')
    return { port, bytes: `${text.slice(0, 24)}8100${tci}${rest}` }
  }
}

class Pair {
  readonly lab: BridgeLab
  readonly naive: NaiveBridge
  readonly filtering: boolean

  constructor(filtering: boolean) {
    this.filtering = filtering
    const loopGuard = { movesMax: Number.POSITIVE_INFINITY }
    const options = { vlanFiltering: filtering, ageMs: AGE_MS, fdbMax: 128, loopGuard }
    this.lab = new BridgeLab(options, { smallCount: 8, largeCount: 0 })
    this.naive = new NaiveBridge(filtering)
    for (let number = 0; number < PORTS.length; number++) this.add(number)
  }

  add(number: number): void {
    const { vlan, ...rest } = PORTS[number]!
    const filter = this.filtering && vlan !== undefined
    this.lab.add(`p${number}`, filter ? { ...rest, vlan } : rest)
  }

  apply(operation: Operation): void {
    const { lab, naive } = this
    if (operation.op === 'wait') {
      lab.wait(operation.ms)
      naive.nowMs += operation.ms
    } else if (operation.op === 'send') this.send(operation)
    else if (operation.op === 'static') {
      const vid = this.filtering ? operation.vid : 0
      if (this.filtering && !naive.vlan(operation.port).carries(vid)) return
      const mac = station(operation.mac + 1)
      lab.bridge.addStatic(parseMac(mac), lab.ports.get(`p${operation.port}`)!, vid)
      const key = `${vid} ${mac.replaceAll(':', '')}`
      naive.known.set(key, { port: operation.port, seenMs: 0, static: true })
    } else if (operation.op === 'unstatic') {
      const mac = station(operation.mac + 1)
      lab.bridge.removeStatic(parseMac(mac))
      for (const vid of [0, 1, 2, 3, 4]) naive.known.delete(`${vid} ${mac.replaceAll(':', '')}`)
    } else {
      lab.bridge.removePort(lab.ports.get(`p${operation.port}`)!)
      this.add(operation.port)
      for (const [key, { port }] of naive.known) {
        if (port === operation.port) naive.known.delete(key)
      }
      naive.order = [...naive.order.filter((number) => number !== operation.port), operation.port]
    }
    this.compareTables()
  }

  send({ port, dst, src, tags, cut }: Extract<Operation, { op: 'send' }>): void {
    const fields = { dst: ADDRESSES[dst]!, src: ADDRESSES[src]!, tags, payload: [1, 2, 3] }
    const bytes = frame(fields).subarray(0, cut)
    const expected = this.naive.receive(port, bytes)
    const dropsBefore = typeof expected === 'string' ? this.lab.drops(`p${port}`, expected) : 0
    const out = this.lab.send(`p${port}`, bytes)
    expect(out).toEqual(typeof expected === 'string' ? [] : expected)
    if (typeof expected === 'string') {
      expect(this.lab.drops(`p${port}`, expected)).toBe(dropsBefore + 1)
    }
  }

  compareTables(): void {
    const expected = [...this.naive.known]
      .filter(([, { seenMs, ...k }]) => k.static || this.naive.nowMs - seenMs < AGE_MS)
      .map(([key, known]) => `${key} p${known.port} ${known.static}`)
    const actual = this.lab.bridge
      .fdb()
      .map(({ vid, mac, port, static: s }) => `${vid} ${mac.replaceAll(':', '')} ${port} ${s}`)
    expect(actual.sort()).toEqual(expected.sort())
  }
}

test.each([false, true])('does what a naive bridge does (VLAN filtering: %s)', (filtering) => {
  fc.assert(
    fc.property(fc.array(operation, { minLength: 1, maxLength: 60 }), (operations) => {
      const pair = new Pair(filtering)
      for (const operation of operations) pair.apply(operation)
      pair.lab.balance()
    }),
    { numRuns: 120, seed: 20_260_101 },
  )
})

test('random and truncated octets are counted, never thrown, and the books balance', () => {
  const octet = fc.uint8Array({ maxLength: 40 })
  const input = fc.array(fc.tuple(port, octet, fc.boolean()), { minLength: 1, maxLength: 50 })
  fc.assert(
    fc.property(input, fc.boolean(), (frames, filtering) => {
      const pair = new Pair(filtering)
      for (const [number, bytes, traced] of frames) {
        pair.lab.send(`p${number}`, bytes, { traced })
      }
      pair.lab.balance()
    }),
    { numRuns: 100, seed: 20_260_102 },
  )
})

test('the FDB stays within its limits, and its counts are true, whatever comes', () => {
  const source = fc.tuple(fc.nat(3), fc.nat(60), fc.nat(50))
  fc.assert(
    fc.property(fc.array(source, { minLength: 50, maxLength: 200 }), (frames) => {
      const net = new BridgeLab({ fdbMax: 16, ageMs: 500 }, { smallCount: 8, largeCount: 0 })
      for (let number = 0; number < 4; number++) net.add(`p${number}`, { learnedMax: 6 })
      for (const [number, src, ms] of frames) {
        net.send(`p${number}`, frame({ dst: BROADCAST, src: station(src + 1) }))
        net.wait(ms)
        const fdb = net.bridge.fdb()
        expect(fdb.length).toBeLessThanOrEqual(16)
        for (const { name, learned } of net.bridge.ports()) {
          expect(learned).toBeGreaterThanOrEqual(fdb.filter((entry) => entry.port === name).length)
          expect(learned).toBeLessThanOrEqual(6)
        }
      }
      net.wait(600)
      for (const { learned } of net.bridge.ports()) expect(learned).toBe(0)
      net.balance()
    }),
    { numRuns: 40, seed: 20_260_103 },
  )
})
