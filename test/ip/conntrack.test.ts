import { constants, PerformanceObserver } from 'node:perf_hooks'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  Conntrack,
  type ConntrackOptions,
  Direction,
  EARLY_DROP_MAX,
  ENTRY_BYTES,
} from '../../stack/ip/conntrack.ts'
import { deleteConnections, describeFlow, listConnections } from '../../stack/ip/conntrack_list.ts'
import { invert, PORTS, PROTOCOL, TUPLE_WORDS } from '../../stack/ip/tuple.ts'
import { ACK, CLIENT, ConntrackLab, RST, SERVER, SYN, segment } from './conntrack_lab.ts'
import { echo4, echo6, ip4, pattern, tcp, udp } from './lab.ts'

let lab: ConntrackLab

beforeEach(() => {
  lab = new ConntrackLab()
})

afterEach(() => {
  lab.conntrack.close()
  expect(lab.conntrack.count).toBe(0)
  expect(lab.clock.pending).toBe(0)
  expect(lab.pool.leaks()).toEqual([])
})

const forth = (n = 4000): Uint8Array =>
  udp({ from: CLIENT, to: SERVER }, { from: n, to: 53 }, pattern(4))
const back = (n = 4000): Uint8Array =>
  udp({ from: SERVER, to: CLIENT }, { from: 53, to: n }, pattern(4))
/** A segment from source `n`, none of which anybody answers. */
const invented = (n: number, flags: number): Uint8Array =>
  tcp({ from: `192.0.${2 + (n >> 8)}.${n & 255}`, to: SERVER }, { to: 80, flags }, pattern(0))

function tupleOf(n: number, zone = 0): Int32Array {
  const words = new Int32Array(TUPLE_WORDS)
  words[3] = n
  words[7] = -1
  words[PORTS] = Math.imul(n, 7)
  words[PROTOCOL] = 17 | (zone << 8)
  return words
}

function inverseOf(words: Int32Array): Int32Array {
  const reply = new Int32Array(TUPLE_WORDS)
  invert(words, reply)
  return reply
}

describe('UDP, ICMP and others', () => {
  it('forgets UDP that nobody answers after 30 s, and keeps a stream for 120 s', () => {
    lab.see(forth())
    lab.pass(29_900)
    expect(lab.conntrack.count).toBe(1)
    lab.pass(1_200)
    expect(lab.conntrack.count).toBe(0)
    const { flow } = lab.see(forth())
    expect(lab.see(back()).flow).toBe(flow ^ 1)
    expect(lab.conntrack.isAnswered(flow)).toBe(true)
    expect(lab.conntrack.isAssured(flow)).toBe(false)
    expect(lab.conntrack.remainingMs(flow)).toBe(30_000)
    lab.see(forth())
    expect(lab.conntrack.isAssured(flow)).toBe(true)
    lab.pass(60_000)
    lab.see(back())
    lab.pass(119_000)
    expect(lab.conntrack.count).toBe(1)
    lab.pass(2_200)
    expect(lab.conntrack.count).toBe(0)
  })

  it('keeps an echo for 30 s and never thinks it assured, others for 600 s', () => {
    const request = echo4({ from: CLIENT, to: SERVER }, pattern(8))
    const { flow } = lab.see(request)
    const answer = echo4({ from: SERVER, to: CLIENT }, pattern(8))
    answer[20] = 0
    expect(lab.see(answer).flow).toBe(flow ^ 1)
    const back = lab.see(echo4({ from: SERVER, to: CLIENT }, pattern(8)))
    expect(back.flow >>> 1, 'a question of its own').not.toBe(flow >>> 1)
    expect(lab.see(request).flow).toBe(flow)
    expect(lab.conntrack.isAssured(flow)).toBe(false)
    expect(lab.conntrack.remainingMs(flow)).toBe(30_000)
    const six = lab.see(echo6({ from: 'fd00::1', to: 'fd00::2' }, pattern(8)))
    expect(lab.conntrack.remainingMs(six.flow)).toBe(30_000)
    const gre = lab.see(ip4({ from: CLIENT, to: SERVER, protocol: 47 }, pattern(8)))
    expect(lab.conntrack.remainingMs(gre.flow)).toBe(600_000)
  })

  it('counts packets and octets of each direction', () => {
    const { flow } = lab.see(forth())
    lab.see(forth())
    lab.see(back())
    expect([lab.conntrack.packets(flow), lab.conntrack.octets(flow)]).toEqual([2, 64])
    expect([lab.conntrack.packets(flow ^ 1), lab.conntrack.octets(flow ^ 1)]).toEqual([1, 32])
  })

  it('takes other times if told', () => {
    lab = new ConntrackLab({ timeouts: { udpMs: 2_000, icmpMs: 1_000 } })
    lab.see(forth())
    lab.see(echo4({ from: CLIENT, to: SERVER }, pattern(8)))
    lab.pass(1_500)
    expect(lab.conntrack.count).toBe(1)
    lab.pass(2_000)
    expect(lab.conntrack.count).toBe(0)
  })
})

describe('the table', () => {
  it('finds both tuples of an entry that is translated, each with its direction', () => {
    const { conntrack } = lab
    const original = tupleOf(1)
    const reply = tupleOf(2)
    const flow = conntrack.insert(original, reply)
    expect(flow & 1).toBe(Direction.Original)
    expect(conntrack.find(original)).toBe(flow)
    expect(conntrack.find(reply)).toBe(flow ^ 1)
    const words = new Int32Array(TUPLE_WORDS)
    conntrack.loadTuple(flow ^ 1, words)
    expect(words).toEqual(reply)
    expect(conntrack.tupleWord(flow, PORTS)).toBe(original[PORTS])
    conntrack.setMark(flow, -5)
    expect(conntrack.mark(flow ^ 1)).toBe(-5)
    conntrack.remove(flow ^ 1)
    expect(conntrack.find(original)).toBe(-1)
    expect(conntrack.find(reply)).toBe(-1)
    expect(conntrack.mark(conntrack.insert(original, reply))).toBe(0)
  })

  it('refuses a tuple that is taken, as original or as reply, and keeps zones apart', () => {
    const { conntrack } = lab
    conntrack.insert(tupleOf(1), tupleOf(2))
    expect(conntrack.isTaken(tupleOf(2))).toBe(true)
    expect(conntrack.insert(tupleOf(2), tupleOf(3))).toBe(-1)
    expect(conntrack.insert(tupleOf(3), tupleOf(1))).toBe(-1)
    expect(conntrack.isTaken(tupleOf(3))).toBe(false)
    expect(conntrack.insert(tupleOf(1, 9), tupleOf(2, 9))).toBeGreaterThanOrEqual(0)
    expect(conntrack.count).toBe(2)
  })

  it('finds what a map of the same content finds, whatever comes and goes', () => {
    const act = fc.record({ kind: fc.constantFrom('insert', 'remove', 'find'), n: fc.nat(40) })
    fc.assert(
      // Few places: chains are long, and the table is full now and then.
      fc.property(fc.array(act, { maxLength: 200 }), fc.integer(), (acts, seed) => {
        const options: ConntrackOptions = { pool: lab.pool, clock: lab.clock, seed, entriesMax: 12 }
        const conntrack = new Conntrack(options)
        const model = new Map<number, number>()
        conntrack.ended = (flow) => {
          const gone = [...model].filter(([, known]) => known === flow)
          expect(gone).toHaveLength(1)
          model.delete(gone[0]![0])
        }
        for (const { kind, n } of acts) {
          const words = tupleOf(n)
          const known = model.get(n)
          expect(conntrack.find(words)).toBe(known ?? -1)
          if (known !== undefined) expect(conntrack.find(inverseOf(words))).toBe(known ^ 1)
          if (kind === 'insert') {
            const flow = conntrack.insert(words, inverseOf(words))
            if (known !== undefined) expect(flow).toBe(-1)
            else model.set(n, flow)
          } else if (kind === 'remove' && known !== undefined) conntrack.remove(known)
          expect(conntrack.count).toBe(model.size)
        }
        for (const [n, flow] of model) expect(conntrack.find(tupleOf(n))).toBe(flow)
        conntrack.close()
        expect(model.size).toBe(0)
      }),
    )
  })

  it('tells of every end once, whatever the cause, even to who ends it again', () => {
    const small = new ConntrackLab({ entriesMax: 4 })
    const { conntrack } = small
    const ended: number[] = []
    conntrack.ended = (flow) => {
      ended.push(flow)
      conntrack.remove(flow)
    }
    small.see(forth())
    small.pass(31_000)
    expect(ended).toHaveLength(1)
    for (let n = 0; n < 5; n++) small.see(forth(n))
    expect(ended).toHaveLength(2)
    conntrack.remove(conntrack.find(tupleFrom(small, 4)))
    expect(ended).toHaveLength(3)
    expect(deleteConnections(conntrack, { port: 3 })).toBe(1)
    expect(ended).toHaveLength(4)
    conntrack.close()
    expect(ended).toHaveLength(6)
    expect(small.clock.pending).toBe(0)
  })

  it('runs no timer while it is empty', () => {
    expect(lab.clock.pending).toBe(0)
    const { flow } = lab.see(forth())
    expect(lab.clock.pending).toBe(1)
    lab.conntrack.remove(flow)
    lab.pass(1_000)
    expect(lab.clock.pending).toBe(0)
  })

  it('sweeps a large table a part at a time, all of it within a second', () => {
    lab = new ConntrackLab({ entriesMax: 20_000 })
    const { conntrack } = lab
    for (let n = 0; n < 20_000; n++) conntrack.insert(tupleOf(n), inverseOf(tupleOf(n)))
    let most = 0
    let before = conntrack.count
    lab.pass(599_000)
    expect(conntrack.count).toBe(20_000)
    while (lab.clock.step(601_100)) {
      most = Math.max(most, before - conntrack.count)
      before = conntrack.count
    }
    expect(conntrack.count).toBe(0)
    expect(most).toBeLessThanOrEqual(4096)
  })
})

/** The tuple of a datagram of {@link forth}. */
function tupleFrom({ conntrack }: ConntrackLab, n: number): Int32Array {
  const words = new Int32Array(TUPLE_WORDS)
  for (let flow = conntrack.nextLive(0); flow >= 0; flow = conntrack.nextLive(flow + 2)) {
    conntrack.loadTuple(flow, words)
    if (words[PORTS]! >>> 16 === n) return words
  }
  throw new Error(`no connection from port ${n}`)
}

describe('a full table', () => {
  it.each([
    ['SYNs', SYN],
    ['ACKs, which look like connections in their middle', ACK],
  ])('lets a flood of %s replace itself, and keeps established connections', (_, flags) => {
    lab = new ConntrackLab({ entriesMax: 16 })
    const ended: number[] = []
    lab.conntrack.ended = (flow) => ended.push(flow)
    const flow = lab.handshake()
    for (let n = 0; n < 500; n++) expect(lab.see(invented(n, flags)).verdict).toBe(0)
    expect(lab.conntrack.count).toBe(16)
    expect(ended).toHaveLength(500 - 15)
    expect(ended).not.toContain(flow)
    expect(lab.see(segment('>', ACK, { seq: 101, ack: 501, bytes: 10 })).flow).toBe(flow)
    expect(lab.state(flow)).toBe('established')
  })

  it('still finds a place where most are assured, in one long row', () => {
    lab = new ConntrackLab({ entriesMax: 1000 })
    for (let n = 0; n < 800; n++)
      for (const packet of [forth(n), back(n), forth(n)]) lab.see(packet)
    for (let n = 0; n < 200 + 5000; n++) expect(lab.see(invented(n, SYN)).verdict).toBe(0)
    const rows = listConnections(lab.conntrack, { protocol: 'udp' })
    expect(rows).toHaveLength(800)
    expect(rows.every(({ assured }) => assured)).toBe(true)
  })

  it('refuses a connection when all places are of established ones, after a bounded search', () => {
    const places = EARLY_DROP_MAX * 2
    lab = new ConntrackLab({ entriesMax: places })
    for (let n = 0; n < places; n++) {
      for (const packet of [forth(n), back(n), forth(n)]) lab.see(packet)
    }
    expect(lab.see(invented(1, SYN)).verdict).toBe(-1)
    expect(lab.conntrack.count).toBe(places)
  })

  it('gives up one that is over for a new one', () => {
    lab = new ConntrackLab({ entriesMax: 1 })
    const flow = lab.handshake()
    expect(lab.see(invented(1, SYN)).verdict).toBe(-1)
    expect(lab.tcp('>', RST, { seq: 101 })).toBe(0)
    expect(lab.conntrack.isAssured(flow)).toBe(true)
    expect(lab.see(invented(1, SYN)).verdict).toBe(0)
  })
})

describe('memory', () => {
  it('is at most 160 octets an entry, both directions, whatever the size of the table', () => {
    const { pool, clock } = lab
    for (const entriesMax of [1, 3, 1000, 1023, 1024, 1025, 100_000, 1 << 18]) {
      const conntrack = new Conntrack({ pool, clock, seed: 1, entriesMax })
      expect(conntrack.entryBytes).toBeLessThanOrEqual(ENTRY_BYTES)
    }
    expect(new Conntrack({ pool, clock, seed: 1 }).entryBytes).toBe(156)
    expect(ENTRY_BYTES).toBeLessThanOrEqual(160)
  })

  it('is not taken before it is used', () => {
    const { pool, clock } = lab
    const before = process.memoryUsage.rss()
    const conntrack = new Conntrack({ pool, clock, seed: 1, entriesMax: 1 << 20 })
    conntrack.insert(tupleOf(1), tupleOf(2))
    expect(conntrack.bytes).toBeGreaterThan(160_000_000)
    expect(process.memoryUsage.rss() - before).toBeLessThan(40_000_000)
    conntrack.close()
  })

  it('holds a quarter of a million connections, and finds each', () => {
    const { pool, clock } = lab
    const conntrack = new Conntrack({ pool, clock, seed: 7 })
    const words = tupleOf(0)
    const reply = new Int32Array(TUPLE_WORDS)
    const set = (n: number): void => {
      words[3] = n >>> 8
      words[PORTS] = n << 16
    }
    for (let n = 0; n < conntrack.entriesMax; n++) {
      set(n)
      invert(words, reply)
      conntrack.insert(words, reply)
    }
    expect(conntrack.count).toBe(262_144)
    let wrong = 0
    for (let n = 0; n < conntrack.entriesMax; n++) {
      set(n)
      if (conntrack.find(words) !== n * 2) wrong++
    }
    expect(wrong).toBe(0)
    conntrack.close()
  })

  it('makes no garbage', async () => {
    let collections = 0
    const observer = new PerformanceObserver((list) => {
      const minor = constants.NODE_PERFORMANCE_GC_MINOR
      for (const { detail } of list.getEntries() as unknown as { detail: { kind: number } }[]) {
        if (detail.kind === minor) collections++
      }
    })
    observer.observe({ entryTypes: ['gc'] })
    const flow = lab.handshake()
    const packets = [
      segment('>', ACK, { seq: 101, ack: 501, bytes: 10 }),
      segment('<', ACK, { seq: 501, ack: 101, bytes: 10 }),
      segment('>', SYN, { seq: 9 }),
    ].map((bytes) => {
      const packet = lab.pool.alloc(bytes.length)!
      lab.pool.mem.set(bytes, packet.head)
      packet.len = bytes.length
      return packet
    })
    const run = (count: number): void => {
      for (let i = 0; i < count; i++) {
        for (let n = 0; n < 3; n++) {
          const packet = packets[n]!
          lab.conntrack.update(n === 1 ? flow ^ 1 : flow, packet, packet.head)
        }
      }
    }
    const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20))
    run(60_000)
    await settle()
    const before = collections
    run(300_000)
    await settle()
    observer.disconnect()
    expect(collections - before).toBe(0)
    expect(lab.conntrack.packets(flow)).toBe(2 + 2 * 360_000)
    for (const packet of packets) lab.pool.free(packet)
  })
})

describe('listing and events', () => {
  it('describes both directions, and filters by what is asked', () => {
    const flow = lab.handshake()
    lab.see(forth())
    lab.see(echo6({ from: 'fd00::1', to: 'fd00::2' }, pattern(8)))
    const { conntrack } = lab
    expect(listConnections(conntrack, { protocol: 'tcp' })).toEqual([
      {
        protocol: 'tcp',
        zone: 0,
        state: 'established',
        assured: true,
        timeoutS: 432_000,
        original: { src: CLIENT, dst: SERVER, srcPort: 40_000, dstPort: 80, packets: 2, bytes: 80 },
        reply: { src: SERVER, dst: CLIENT, srcPort: 80, dstPort: 40_000, packets: 1, bytes: 40 },
      },
    ])
    expect(describeFlow(conntrack, flow ^ 1)).toEqual(describeFlow(conntrack, flow))
    const protocols = (filter: object): string[] =>
      listConnections(conntrack, filter).map(({ protocol }) => protocol)
    expect(protocols({})).toEqual(['tcp', 'udp', 'icmp6'])
    expect(protocols({ state: 'unreplied' })).toEqual(['udp', 'icmp6'])
    expect(protocols({ src: CLIENT })).toEqual(['tcp', 'udp'])
    expect(protocols({ dst: SERVER, port: 53 })).toEqual(['udp'])
    expect(protocols({ address: 'fd00::2' })).toEqual(['icmp6'])
    expect(deleteConnections(conntrack, { address: SERVER })).toBe(2)
    expect(protocols({})).toEqual(['icmp6'])
  })

  it('tells who listens of UDP that is answered, and of a stream', () => {
    const heard: string[] = []
    lab.conntrack.changed = (flow, change) => {
      const { state, timeoutS, original, reply } = describeFlow(lab.conntrack, flow)
      heard.push(`${change} ${state} ${timeoutS} s, ${original.packets}:${reply.packets}`)
    }
    const [there, back] = [
      { from: CLIENT, to: SERVER },
      { from: SERVER, to: CLIENT },
    ]
    const ask = () => lab.see(udp(there, { from: 9, to: 53 }, new Uint8Array(0)))
    ask()
    ask()
    lab.see(udp(back, { from: 53, to: 9 }, new Uint8Array(0)))
    ask()
    ask()
    lab.pass(130_000)
    expect(heard).toEqual([
      'new unreplied 30 s, 1:0',
      'update replied 30 s, 2:1',
      'update assured 120 s, 3:1',
      'destroy assured 0 s, 4:1',
    ])
  })

  it('tells nobody of what was refused', () => {
    const heard: string[] = []
    lab.conntrack.changed = (_, change) => heard.push(change)
    expect(lab.tcp('>', SYN | RST, { seq: 1 })).toBeGreaterThan(0)
    expect(lab.conntrack.count).toBe(0)
    expect(heard).toEqual([])
  })

  it('tells who listens of every connection, change of state and end', () => {
    const heard: string[] = []
    lab.conntrack.changed = (flow, change) => {
      heard.push(`${change} ${describeFlow(lab.conntrack, flow).state}`)
    }
    lab.handshake()
    lab.tcp('<', ACK, { seq: 501, ack: 101 })
    lab.tcp('>', RST, { seq: 101 })
    lab.pass(11_000)
    expect(heard).toEqual([
      'new syn_sent',
      'update syn_recv',
      'update established',
      'update close',
      'destroy close',
    ])
  })
})
