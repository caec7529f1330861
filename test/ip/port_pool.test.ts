import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Conntrack } from '../../stack/ip/conntrack.ts'
import { PortPool, type PortPoolOptions } from '../../stack/ip/port_pool.ts'
import { invert, TUPLE_WORDS } from '../../stack/ip/tuple.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'

const UDP = 17
const ICMP = 1
const EGRESS = '203.0.113.2'

interface Flow {
  readonly flow: number
  readonly port: number
}

/** A pool and the connections that hold its ports. */
class Bed {
  readonly clock = new VirtualClock()
  readonly conntrack: Conntrack
  readonly ports: PortPool
  readonly #held = new Set<number>()

  constructor(options: Partial<PortPoolOptions> = {}) {
    const pool = new Pool({ smallCount: 1, largeCount: 0 })
    this.conntrack = new Conntrack({ pool, clock: this.clock, seed: 3, entriesMax: 100_000 })
    this.ports = new PortPool({
      random: new Random(5),
      isTaken: (tuple) => this.conntrack.isTaken(tuple),
      ...options,
    })
    this.conntrack.ended = (flow) => {
      if (!this.#held.delete(flow)) return
      const original = new Int32Array(TUPLE_WORDS)
      const reply = new Int32Array(TUPLE_WORDS)
      this.conntrack.loadTuple(flow, original)
      this.conntrack.loadTuple(flow ^ 1, reply)
      this.ports.release(original, reply)
    }
  }

  /** A connection from inside; undefined if there is no port. */
  open(from: readonly [string, number], to: readonly [string, number], protocol = UDP) {
    const original = tuple(from, to, protocol)
    const reply = new Int32Array(TUPLE_WORDS)
    invert(original, reply)
    reply.set(parseAddress(EGRESS).words, 4)
    const port = this.ports.choose(original, reply)
    if (port < 0) return undefined
    expect(reply[8]! & 0xffff).toBe(port)
    const flow = this.conntrack.insert(original, reply)
    expect(flow).toBeGreaterThanOrEqual(0)
    if (this.ports.hold(original, reply)) this.#held.add(flow)
    return { flow, port } satisfies Flow
  }

  end(): void {
    this.conntrack.close()
    expect(this.ports.count).toBe(0)
    expect(this.clock.pending).toBe(0)
  }
}

function tuple(
  [from, fromPort]: readonly [string, number],
  [to, toPort]: readonly [string, number],
  protocol: number,
): Int32Array {
  const words = new Int32Array(TUPLE_WORDS)
  words.set(parseAddress(from).words, 0)
  words.set(parseAddress(to).words, 4)
  words[8] = (fromPort << 16) | (protocol === ICMP ? fromPort : toPort)
  words[9] = protocol
  return words
}

const A = '10.1.0.11'
const B = '10.1.0.12'
const X = ['198.51.100.9', 53] as const
const Y = ['198.51.100.10', 99] as const

describe('port pool', () => {
  it('keeps the port where it is free, and one mapping for all destinations', () => {
    const bed = new Bed()
    expect(bed.open([A, 5000], X)!.port).toBe(5000)
    expect(bed.open([A, 5000], Y)!.port).toBe(5000)
    const other = bed.open([B, 5000], Y)!.port
    expect(other).not.toBe(5000)
    expect(bed.open([B, 5000], X)!.port).toBe(other)
    expect(bed.ports.count).toBe(2)
    bed.end()
  })

  it('keeps the range and the parity (RFC 4787 REQ-3 and REQ-4)', () => {
    const bed = new Bed()
    for (const port of [1, 1022, 1023, 1024, 40_001, 65_535]) {
      expect(bed.open([A, port], X)!.port).toBe(port)
      for (let i = 0; i < 40; i++) {
        const got = bed.open([`10.9.0.${i}`, port], X)!.port
        expect(got < 1024).toBe(port < 1024)
        expect(got & 1).toBe(port & 1)
        expect(got).toBeGreaterThan(0)
      }
    }
    bed.end()
  })

  it('frees a port with the last connection of its mapping', () => {
    const bed = new Bed()
    const first = bed.open([A, 5000], X)!
    const second = bed.open([A, 5000], Y)!
    bed.conntrack.remove(first.flow)
    expect(bed.open([B, 5000], X)!.port).not.toBe(5000)
    bed.conntrack.remove(second.flow)
    expect(bed.open(['10.1.0.13', 5000], X)!.port).toBe(5000)
    bed.end()
  })

  it('shares ports between destinations when they run out', () => {
    const bed = new Bed({ portMin: 2000, portMax: 2009 })
    const seen = new Set<string>()
    for (let i = 0; i < 10; i++) {
      for (const to of [X, Y]) {
        const flow = bed.open([A, 5000 + i], to)!
        seen.add(`${flow.port} ${to[0]}`)
      }
    }
    expect(seen.size).toBe(20)
    expect(bed.open([A, 6000], X)).toBeUndefined()
    expect(bed.open([A, 6000], ['198.51.100.9', 54])).toBeDefined()
    bed.end()
  })

  it('fills all 64,512 ports of one destination, and shares them with another', () => {
    const bed = new Bed()
    const ports = new Set<number>()
    let failed = 0
    for (let i = 0; i < 64_512; i++) {
      const flow = bed.open([`10.${1 + (i >>> 14)}.0.1`, 1024 + ((i * 7) & 0x3fff)], X)
      if (flow === undefined) failed++
      else ports.add(flow.port)
    }
    expect(failed).toBe(0)
    expect(ports.size).toBe(64_512)
    for (let i = 0; i < 1000; i++) expect(bed.open([B, 2000 + i], Y)).toBeDefined()
    expect(bed.open([B, 5000], X)).toBeUndefined()
    bed.end()
  })

  it('maps by destination if told', () => {
    const bed = new Bed({ mode: 'endpoint-dependent' })
    expect(bed.open([A, 5000], X)!.port).toBe(5000)
    // Another destination: the port may be the same for somebody else.
    expect(bed.open([B, 5000], Y)!.port).toBe(5000)
    expect(bed.open([B, 5000], X)!.port).not.toBe(5000)
    expect(bed.ports.count).toBe(0)
    bed.end()
  })

  it('maps by address outside if told, whatever its ports (RFC 4787 §4.1)', () => {
    const bed = new Bed({ mode: 'address-dependent' })
    expect(bed.open([A, 5000], X)!.port).toBe(5000)
    expect(bed.open([A, 5000], [X[0], 54])!.port).toBe(5000)
    const other = bed.open([A, 5000], Y)!.port
    expect(other).not.toBe(5000)
    expect(bed.open([A, 5000], [Y[0], 1])!.port).toBe(other)
    expect(bed.open([B, 5000], X)!.port, 'of its own').not.toBe(5000)
    expect(bed.ports.count).toBe(3)
    bed.end()
  })

  it('takes back what was given in another mode', () => {
    const bed = new Bed()
    const wide = bed.open([A, 5000], X)!
    bed.ports.configure({ mode: 'address-dependent' })
    const narrow = bed.open([A, 5000], [X[0], 54])!
    expect(narrow.port).not.toBe(5000)
    expect(bed.ports.count).toBe(2)
    bed.ports.configure({ mode: 'endpoint-dependent' })
    bed.conntrack.remove(wide.flow)
    expect(bed.ports.count).toBe(1)
    bed.ports.configure({ mode: 'address-dependent' })
    expect(bed.open([A, 5000], [X[0], 55])!.port).toBe(narrow.port)
    bed.end()
  })

  it('gives out nothing reserved', () => {
    const bed = new Bed({ isReserved: (words) => (words[8]! & 0xffff) < 2008, portMin: 2000 })
    expect(bed.open([A, 2004], X)!.port).toBeGreaterThanOrEqual(2008)
    bed.end()
  })

  it('stays within its bounds', () => {
    const bed = new Bed({ mappingsMax: 4 })
    for (let i = 0; i < 20; i++) expect(bed.open([A, 5000 + i], X)!.port).toBe(5000 + i)
    expect(bed.ports.count).toBe(4)
    bed.end()
  })

  it('gives echoes their identifier', () => {
    const bed = new Bed()
    expect(bed.open([A, 0], X, ICMP)!.port).toBe(0)
    expect(bed.open([B, 0], X, ICMP)!.port).not.toBe(0)
    bed.end()
  })

  it('never gives two connections one tuple, nor two endpoints one port while it has more', () => {
    const step = fc.record({
      host: fc.integer({ min: 1, max: 6 }),
      port: fc.integer({ min: 2000, max: 2006 }),
      to: fc.constantFrom(X, Y),
      close: fc.boolean(),
    })
    const modes = fc.constantFrom('endpoint-independent', 'address-dependent')
    const property = fc.property(fc.array(step, { maxLength: 40 }), modes, (steps, mode) => {
      const bed = new Bed({ portMin: 2000, portMax: 2127, mode })
      const open = new Map<string, Flow>()
      for (const { host, port, to, close } of steps) {
        const name = `10.1.0.${host} ${port} ${to[0]}`
        const old = open.get(name)
        if (old !== undefined) {
          if (close) bed.conntrack.remove(old.flow)
          if (close) open.delete(name)
          continue
        }
        const flow = bed.open([`10.1.0.${host}`, port], to)
        expect(flow).toBeDefined()
        open.set(name, flow!)
      }
      const owners = new Map<number, string>()
      for (const [name, { port }] of open) {
        const owner = mode === 'address-dependent' ? name : name.replace(/ [^ ]*$/, '')
        expect(owners.get(port) ?? owner).toBe(owner)
        owners.set(port, owner)
      }
      expect(bed.ports.count).toBe(owners.size)
      bed.end()
    })
    fc.assert(property, { numRuns: 100 })
  })
})
