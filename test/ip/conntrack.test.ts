import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DropReason } from '../../stack/drop.ts'
import { Conntrack, ENTRY_BYTES } from '../../stack/ip/conntrack.ts'
import { invert, kindOf, readTuple, TUPLE_WORDS, TupleKind } from '../../stack/ip/tuple.ts'
import { ConntrackLab } from './conntrack_lab.ts'
import { echo4, tcp, udp } from './lab.ts'

const A = '10.1.0.11'
const B = '198.51.100.9'
const [FIN, SYN, RST, ACK] = [1, 2, 4, 16]

interface Segment {
  readonly seq: number
  readonly ack?: number
  readonly bytes?: number
  readonly options?: Uint8Array
}

/** A segment from the client (`>`) or the server (`<`). */
function segment(from: '>' | '<', flags: number, { seq, ack = 0, bytes = 0, options }: Segment) {
  const [source, to] = from === '>' ? [A, B] : [B, A]
  const ports = from === '>' ? { from: 40_000, to: 80 } : { from: 80, to: 40_000 }
  const fields = { ...ports, flags, seq, ack, window: 1000, ...(options && { options }) }
  return tcp({ from: source, to }, fields, new Uint8Array(bytes))
}

/** Let time pass. */
function pass(lab: ConntrackLab, ms: number): void {
  const until = lab.clock.nowMs + ms
  while (lab.clock.step(until));
}

function handshake(lab: ConntrackLab): number {
  const { flow } = lab.see(segment('>', SYN, { seq: 100 }))
  lab.see(segment('<', SYN | ACK, { seq: 500, ack: 101 }))
  lab.see(segment('>', ACK, { seq: 101, ack: 501 }))
  expect(lab.state(flow)).toBe('established')
  return flow
}

describe('TCP', () => {
  it('follows a connection from its first to its last segment', () => {
    const lab = new ConntrackLab()
    const states: string[] = []
    const steps: ['>' | '<', number, Segment][] = [
      ['>', SYN, { seq: 100 }],
      ['<', SYN | ACK, { seq: 500, ack: 101 }],
      ['>', ACK, { seq: 101, ack: 501 }],
      ['>', ACK, { seq: 101, ack: 501, bytes: 50 }],
      ['>', FIN | ACK, { seq: 151, ack: 501 }],
      ['<', ACK, { seq: 501, ack: 152 }],
      ['<', FIN | ACK, { seq: 501, ack: 152 }],
      ['>', ACK, { seq: 152, ack: 502 }],
    ]
    for (const [from, flags, fields] of steps) {
      const { flow, verdict } = lab.see(segment(from, flags, fields))
      expect(verdict).toBe(0)
      states.push(lab.state(flow))
    }
    expect(states).toEqual([
      'syn_sent',
      'syn_recv',
      'established',
      'established',
      'fin_wait',
      'close_wait',
      'last_ack',
      'time_wait',
    ])
    expect(lab.conntrack.count).toBe(1)
    pass(lab, 121_000)
    expect(lab.conntrack.count).toBe(0)
    expect(lab.clock.pending).toBe(0)
  })

  it('follows a simultaneous open', () => {
    const lab = new ConntrackLab()
    const { flow } = lab.see(segment('>', SYN, { seq: 100 }))
    lab.see(segment('<', SYN, { seq: 500 }))
    expect(lab.state(flow)).toBe('syn_sent2')
    expect(lab.see(segment('>', SYN | ACK, { seq: 100, ack: 501 })).verdict).toBe(0)
    expect(lab.state(flow)).toBe('syn_recv')
  })

  it('refuses a reset outside the window, and believes one inside', () => {
    const lab = new ConntrackLab()
    const flow = handshake(lab)
    const far = segment('<', RST, { seq: 9_000_000 })
    expect(lab.see(far).verdict).toBe(DropReason.ConntrackInvalid)
    expect(lab.state(flow)).toBe('established')
    expect(lab.see(segment('<', RST | ACK, { seq: 501, ack: 101 })).verdict).toBe(0)
    expect(lab.state(flow)).toBe('close')
  })

  it('refuses data beyond the window and acknowledgements of what was not sent', () => {
    const lab = new ConntrackLab()
    handshake(lab)
    const invalid = DropReason.ConntrackInvalid
    expect(lab.see(segment('>', ACK, { seq: 80_000, ack: 501, bytes: 10 })).verdict).toBe(invalid)
    expect(lab.see(segment('<', ACK, { seq: 501, ack: 70_000 })).verdict).toBe(invalid)
    expect(lab.see(segment('>', ACK, { seq: 101, ack: 501, bytes: 1000 })).verdict).toBe(0)
    expect(lab.see(segment('>', ACK, { seq: 101, ack: 501, bytes: 1000 })).verdict).toBe(0)
  })

  it('reads windows with the scale that both ends agreed on', () => {
    const scale = Uint8Array.of(1, 3, 3, 7)
    const lab = new ConntrackLab()
    lab.see(segment('>', SYN, { seq: 100, options: scale }))
    lab.see(segment('<', SYN | ACK, { seq: 500, ack: 101, options: scale }))
    lab.see(segment('>', ACK, { seq: 101, ack: 501 }))
    lab.see(segment('<', ACK, { seq: 501, ack: 101 }))
    expect(lab.see(segment('>', ACK, { seq: 100_101, ack: 501, bytes: 10 })).verdict).toBe(0)
  })

  it('picks up a connection in its middle', () => {
    const lab = new ConntrackLab()
    const { flow, verdict } = lab.see(segment('>', ACK, { seq: 5_000_000, ack: 7_000_000 }))
    expect(verdict).toBe(0)
    expect(lab.state(flow)).toBe('established')
    const answer = segment('<', ACK, { seq: 7_000_000, ack: 5_000_000, bytes: 1400 })
    expect(lab.see(answer).verdict).toBe(0)
  })

  it('takes a new SYN after the end for a new connection', () => {
    const lab = new ConntrackLab()
    const flow = handshake(lab)
    lab.see(segment('>', RST, { seq: 101 }))
    expect(lab.state(flow)).toBe('close')
    expect(lab.see(segment('>', SYN, { seq: 3_000_000_000 })).verdict).toBe(0)
    expect(lab.state(flow)).toBe('syn_sent')
  })
})

describe('other protocols', () => {
  it('forgets UDP that nobody answers after 30 s, and keeps a stream for 120 s', () => {
    const lab = new ConntrackLab()
    const ask = udp({ from: A, to: B }, { from: 4000, to: 53 }, new Uint8Array(4))
    const answer = udp({ from: B, to: A }, { from: 53, to: 4000 }, new Uint8Array(4))
    lab.see(ask)
    pass(lab, 31_200)
    expect(lab.conntrack.count).toBe(0)
    const { flow } = lab.see(ask)
    expect(lab.see(answer).flow).toBe(flow ^ 1)
    expect(lab.conntrack.isAssured(flow)).toBe(false)
    lab.see(ask)
    expect(lab.conntrack.isAssured(flow)).toBe(true)
    pass(lab, 119_000)
    expect(lab.conntrack.count).toBe(1)
    pass(lab, 2_200)
    expect(lab.conntrack.count).toBe(0)
  })

  it('knows an echo by its identifier, and counts each direction', () => {
    const lab = new ConntrackLab()
    const request = echo4({ from: A, to: B }, new Uint8Array(8))
    const { flow } = lab.see(request)
    expect(lab.see(request).flow).toBe(flow)
    expect(lab.conntrack.packets(flow)).toBe(2)
    expect(lab.conntrack.octets(flow)).toBe(2 * request.length)
    expect(lab.conntrack.packets(flow ^ 1)).toBe(0)
  })
})

describe('bounds', () => {
  const syn = (n: number): Uint8Array =>
    tcp(
      { from: `192.0.${2 + (n >> 8)}.${n & 255}`, to: B },
      { to: 80, flags: SYN },
      new Uint8Array(),
    )

  it('lets a flood of SYNs replace itself, and keeps established connections', () => {
    const lab = new ConntrackLab({ entriesMax: 16 })
    const ended: number[] = []
    lab.conntrack.ended = (flow) => ended.push(flow)
    const flow = handshake(lab)
    for (let n = 0; n < 500; n++) expect(lab.see(syn(n)).verdict).toBe(0)
    expect(lab.conntrack.count).toBe(16)
    expect(ended).toHaveLength(500 - 15)
    expect(ended).not.toContain(flow)
    expect(lab.see(segment('>', ACK, { seq: 101, ack: 501, bytes: 10 })).flow).toBe(flow)
  })

  it('refuses a connection when all places are of established ones', () => {
    const lab = new ConntrackLab({ entriesMax: 1 })
    handshake(lab)
    expect(lab.see(syn(1)).verdict).toBe(-1)
  })

  it('takes at most 160 octets an entry', () => {
    const { pool, clock } = new ConntrackLab()
    const conntrack = new Conntrack({ pool, clock, seed: 1, entriesMax: 1 << 18 })
    expect(conntrack.bytes / conntrack.entriesMax).toBe(ENTRY_BYTES)
    expect(ENTRY_BYTES).toBeLessThanOrEqual(160)
  })

  it('finds what a map of the same content finds, whatever comes and goes', () => {
    const act = fc.record({ kind: fc.constantFrom('insert', 'remove', 'find'), n: fc.nat(40) })
    fc.assert(
      fc.property(fc.array(act, { maxLength: 120 }), (acts) => {
        const { conntrack } = new ConntrackLab({ entriesMax: 64 })
        const model = new Map<number, number>()
        const tuple = (n: number): Int32Array => {
          const words = new Int32Array(TUPLE_WORDS)
          words[3] = n
          words[7] = -1
          words[8] = n * 7
          words[9] = 17
          return words
        }
        const reply = new Int32Array(TUPLE_WORDS)
        for (const { kind, n } of acts) {
          const known = model.get(n)
          expect(conntrack.find(tuple(n))).toBe(known ?? -1)
          if (kind === 'insert') {
            invert(tuple(n), reply)
            const flow = conntrack.insert(tuple(n), reply)
            if (known !== undefined) expect(flow).toBe(-1)
            else model.set(n, flow)
          } else if (kind === 'remove' && known !== undefined) {
            conntrack.remove(known)
            model.delete(n)
          }
          expect(conntrack.count).toBe(model.size)
        }
      }),
    )
  })
})

describe('tuples', () => {
  it('refuses packets that are cut short anywhere, and never throws', () => {
    const samples = [
      segment('>', SYN, { seq: 1 }),
      udp({ from: 'fd00::1', to: 'fd00::2' }, { from: 1, to: 2 }, new Uint8Array(3)),
      echo4({ from: A, to: B }, new Uint8Array(3)),
    ]
    const words = new Int32Array(TUPLE_WORDS)
    for (const sample of samples) {
      const header = sample[0]! >>> 4 === 6 ? 40 : 20
      for (let end = header; end <= sample.length; end++) {
        const kind = kindOf(readTuple(sample.slice(0, end), 0, end, words))
        expect(kind).toBe(end < header + 8 ? TupleKind.Malformed : TupleKind.Flow)
      }
    }
  })

  it('reads garbage without throwing', () => {
    const words = new Int32Array(TUPLE_WORDS)
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 60, maxLength: 200 }), fc.boolean(), (bytes, six) => {
        bytes[0] = six ? 0x60 : 0x45
        const kind = kindOf(readTuple(bytes, 0, bytes.length, words))
        expect(kind).toBeLessThanOrEqual(TupleKind.Malformed)
      }),
      { numRuns: 2000 },
    )
  })
})
