import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DropReason } from '../../stack/drop.ts'
import { nextState } from '../../stack/ip/conntrack_tcp.ts'
import {
  ACK,
  ConntrackLab,
  FIN,
  type From,
  RST,
  type Segment,
  SYN,
  segment,
} from './conntrack_lab.ts'

const INVALID = DropReason.ConntrackInvalid
const SCALE_7 = Uint8Array.of(1, 3, 3, 7)
const DAY_MS = 86_400_000
const MORE_FRAGMENTS = 0x2000

let lab: ConntrackLab

beforeEach(() => {
  lab = new ConntrackLab()
})

afterEach(() => {
  lab.conntrack.close()
  expect(lab.clock.pending).toBe(0)
  expect(lab.pool.leaks()).toEqual([])
})

/** The states after each of some segments, all of which must pass. */
function statesOf(steps: readonly [From, number, Segment][]): string[] {
  return steps.map(([from, flags, fields]) => {
    const { flow, verdict } = lab.see(segment(from, flags, fields))
    expect(verdict).toBe(0)
    return lab.state(flow)
  })
}

describe('states', () => {
  it('follows a connection that the client closes', () => {
    const states = statesOf([
      ['>', SYN, { seq: 100 }],
      ['<', SYN | ACK, { seq: 500, ack: 101 }],
      ['>', ACK, { seq: 101, ack: 501 }],
      ['>', ACK, { seq: 101, ack: 501, bytes: 50 }],
      ['>', FIN | ACK, { seq: 151, ack: 501 }],
      ['<', ACK, { seq: 501, ack: 152 }],
      ['<', FIN | ACK, { seq: 501, ack: 152 }],
      ['>', ACK, { seq: 152, ack: 502 }],
    ])
    const opening = ['syn_sent', 'syn_recv', 'established', 'established']
    expect(states).toEqual([...opening, 'fin_wait', 'close_wait', 'last_ack', 'time_wait'])
    expect(lab.conntrack.count).toBe(1)
    lab.pass(121_000)
    expect(lab.conntrack.count).toBe(0)
  })

  it('follows a connection that the server closes, and one that both close at once', () => {
    lab.handshake()
    const serverFirst = statesOf([
      ['<', FIN | ACK, { seq: 501, ack: 101 }],
      ['>', ACK, { seq: 101, ack: 502 }],
      ['>', FIN | ACK, { seq: 101, ack: 502 }],
      ['<', ACK, { seq: 502, ack: 102 }],
    ])
    expect(serverFirst).toEqual(['fin_wait', 'close_wait', 'last_ack', 'time_wait'])
    lab.pass(121_000)
    lab.handshake()
    const atOnce = statesOf([
      ['<', FIN | ACK, { seq: 501, ack: 101 }],
      ['>', FIN | ACK, { seq: 101, ack: 501 }],
      ['<', ACK, { seq: 502, ack: 102 }],
      ['>', ACK, { seq: 102, ack: 502 }],
    ])
    expect(atOnce).toEqual(['fin_wait', 'last_ack', 'time_wait', 'time_wait'])
  })

  it('follows a simultaneous open', () => {
    const states = statesOf([
      ['>', SYN, { seq: 100 }],
      ['<', SYN, { seq: 500 }],
      ['>', SYN | ACK, { seq: 100, ack: 501 }],
      ['<', SYN | ACK, { seq: 500, ack: 101 }],
      ['>', ACK, { seq: 101, ack: 501 }],
      ['<', ACK, { seq: 501, ack: 101, bytes: 10 }],
    ])
    const opening = ['syn_sent', 'syn_sent2', 'syn_recv', 'syn_recv']
    expect(states).toEqual([...opening, 'established', 'established'])
  })

  it('lets every segment of an opening be sent again', () => {
    const states = statesOf([
      ['>', SYN, { seq: 100 }],
      ['>', SYN, { seq: 100 }],
      ['<', SYN | ACK, { seq: 500, ack: 101 }],
      ['<', SYN | ACK, { seq: 500, ack: 101 }],
      ['>', ACK, { seq: 101, ack: 501, bytes: 20 }],
      ['<', SYN | ACK, { seq: 500, ack: 101 }],
      ['>', ACK, { seq: 101, ack: 501, bytes: 20 }],
      ['<', ACK, { seq: 501, ack: 121, bytes: 1000 }],
    ])
    const opening = ['syn_sent', 'syn_sent', 'syn_recv', 'syn_recv']
    expect(states).toEqual([...opening, ...Array<string>(4).fill('established')])
  })

  it('takes a new SYN after the end for a new connection, from either side', () => {
    const flow = lab.handshake()
    expect(lab.tcp('>', RST, { seq: 101 })).toBe(0)
    expect(lab.state(flow)).toBe('close')
    expect(lab.tcp('>', SYN, { seq: 3_000_000_000 })).toBe(0)
    expect(lab.state(flow)).toBe('syn_sent')
    expect(lab.conntrack.isAssured(flow)).toBe(false)
    expect(lab.tcp('<', SYN | ACK, { seq: 9, ack: 3_000_000_001 })).toBe(0)
    statesOf([
      ['>', ACK, { seq: 3_000_000_001, ack: 10 }],
      ['>', FIN | ACK, { seq: 3_000_000_001, ack: 10 }],
      ['<', FIN | ACK, { seq: 10, ack: 3_000_000_002 }],
      ['>', ACK, { seq: 3_000_000_002, ack: 11 }],
    ])
    expect(lab.state(flow)).toBe('time_wait')
    const states = statesOf([
      ['<', SYN, { seq: 70_000 }],
      ['>', SYN | ACK, { seq: 80_000, ack: 70_001 }],
      ['<', ACK, { seq: 70_001, ack: 80_001 }],
      ['>', ACK, { seq: 80_001, ack: 70_001, bytes: 5 }],
    ])
    expect(states.at(-1)).toBe('established')
  })

  it('refuses flags that nobody sends, and starts without a SYN', () => {
    for (const flags of [0, FIN, SYN | FIN, SYN | RST, FIN | RST | ACK]) {
      expect(lab.tcp('>', flags, { seq: 1 }), `flags ${flags}`).toBe(INVALID)
    }
    for (const flags of [SYN | ACK, FIN | ACK, RST, RST | ACK]) {
      expect(lab.tcp('>', flags, { seq: 1 }), `flags ${flags}`).toBe(INVALID)
    }
    expect(lab.conntrack.count).toBe(0)
  })

  it('has an answer for every state, flags and direction', () => {
    for (let flags = 0; flags < 256; flags++) {
      for (let state = 0; state <= 9; state++) {
        for (const reply of [false, true]) {
          const next = nextState(state, flags, reply)
          expect(next >= -2 && next <= 9 && next !== 0).toBe(true)
        }
      }
    }
  })

  it('refuses a TCP header that is cut short, and changes nothing', () => {
    const flow = lab.handshake()
    const whole = segment('>', ACK, { seq: 101, ack: 501, bytes: 4 })
    for (let bytes = 28; bytes < 40; bytes++) {
      const packet = whole.slice(0, bytes)
      expect(lab.see(packet).verdict).toBe(INVALID)
    }
    expect(lab.conntrack.packets(flow)).toBe(2)
    const lying = segment('>', ACK, { seq: 101, ack: 501 })
    for (const words of [0, 4, 6, 15]) {
      lying[32] = words << 4
      expect(lab.see(lying).verdict).toBe(INVALID)
    }
  })
})

describe('windows', () => {
  it('refuses data beyond the window and acknowledgements of what was not sent', () => {
    lab.handshake()
    expect(lab.tcp('>', ACK, { seq: 80_000, ack: 501, bytes: 10 })).toBe(INVALID)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 70_000 })).toBe(INVALID)
    expect(lab.tcp('>', ACK, { seq: 101, ack: 501, bytes: 1000 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 101, ack: 501, bytes: 1000 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 1101, ack: 501, bytes: 1000 })).toBe(0)
  })

  it('refuses data that is older than a window', () => {
    lab.handshake()
    for (let seq = 101; seq < 20_000; seq += 1000) {
      expect(lab.tcp('>', ACK, { seq, ack: 501, bytes: 1000 })).toBe(0)
      expect(lab.tcp('<', ACK, { seq: 501, ack: seq + 1000 })).toBe(0)
    }
    expect(lab.tcp('>', ACK, { seq: 19_101, ack: 501, bytes: 1000 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 101, ack: 501, bytes: 1000 })).toBe(INVALID)
  })

  it('refuses an acknowledgement of what was acknowledged long ago', () => {
    lab.handshake(SCALE_7)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 101 })).toBe(0)
    for (let seq = 101; seq < 200_101; seq += 50_000) {
      expect(lab.tcp('>', ACK, { seq, ack: 501, bytes: 50_000 })).toBe(0)
      expect(lab.tcp('<', ACK, { seq: 501, ack: seq + 50_000 })).toBe(0)
    }
    expect(lab.tcp('<', ACK, { seq: 501, ack: 100_101, bytes: 10 })).toBe(0)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 101, bytes: 10 })).toBe(INVALID)
  })

  it('reads windows with the scale that both ends agreed on', () => {
    lab.handshake(SCALE_7)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 101 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 100_101, ack: 501, bytes: 10 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 300_000, ack: 501, bytes: 10 })).toBe(INVALID)
  })

  it('does not scale if only one end offers it, however strange its options are', () => {
    for (const options of [
      Uint8Array.of(1, 1, 1, 1),
      Uint8Array.of(3, 0, 1, 1),
      Uint8Array.of(3, 200, 1, 1),
      Uint8Array.of(1, 1, 1, 3),
      Uint8Array.of(0, 3, 3, 7),
    ]) {
      lab = new ConntrackLab()
      lab.see(segment('>', SYN, { seq: 100, options: SCALE_7 }))
      lab.see(segment('<', SYN | ACK, { seq: 500, ack: 101, options }))
      lab.see(segment('>', ACK, { seq: 101, ack: 501 }))
      lab.see(segment('<', ACK, { seq: 501, ack: 101 }))
      expect(lab.tcp('>', ACK, { seq: 100_101, ack: 501, bytes: 10 })).toBe(INVALID)
      expect(lab.tcp('>', ACK, { seq: 1001, ack: 501, bytes: 10 })).toBe(0)
      lab.conntrack.close()
    }
  })

  it('counts the whole payload of a super-frame', () => {
    lab.handshake(SCALE_7)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 101 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 101, ack: 501, bytes: 60_000 })).toBe(0)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 60_101 })).toBe(0)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 60_102 })).toBe(INVALID)
  })

  it('works where sequence numbers begin anew', () => {
    const last = 0xffff_fff0
    statesOf([
      ['>', SYN, { seq: last - 1 }],
      ['<', SYN | ACK, { seq: last - 1, ack: last }],
      ['>', ACK, { seq: last, ack: last }],
      ['>', ACK, { seq: last, ack: last, bytes: 100 }],
      ['<', ACK, { seq: last, ack: 84, bytes: 100 }],
      ['>', ACK, { seq: 84, ack: 84, bytes: 100 }],
    ])
    expect(lab.tcp('>', ACK, { seq: 84 + 70_000, ack: 84, bytes: 1 })).toBe(INVALID)
  })

  it('asks no sequence number of a segment without data: probes and keep-alives pass', () => {
    lab.handshake()
    expect(lab.tcp('>', ACK, { seq: 100, ack: 501 })).toBe(0)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 101, window: 0 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 101, ack: 501, bytes: 1 })).toBe(0)
  })

  it('keeps windows when a stray SYN comes, which it lets pass', () => {
    const flow = lab.handshake()
    expect(lab.tcp('>', SYN, { seq: 3_000_000_000 })).toBe(0)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 101 })).toBe(0)
    expect(lab.state(flow)).toBe('established')
    expect(lab.tcp('>', ACK, { seq: 101, ack: 501, bytes: 100 })).toBe(0)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 201, bytes: 100 })).toBe(0)
    expect(lab.tcp('<', SYN | ACK, { seq: 7_000, ack: 3_000_000_001 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 201, ack: 601, bytes: 100 })).toBe(0)
  })

  it('still asks for windows when an opening was sent twice', () => {
    lab.tcp('>', SYN, { seq: 100 })
    lab.tcp('<', SYN | ACK, { seq: 500, ack: 101 })
    expect(lab.tcp('>', SYN, { seq: 100 })).toBe(0)
    expect(lab.tcp('<', SYN | ACK, { seq: 500, ack: 101 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 101, ack: 501 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 80_000, ack: 501, bytes: 10 })).toBe(INVALID)
  })

  it('follows when both ends begin anew and it did not see the end', () => {
    const flow = lab.handshake()
    const states = statesOf([
      ['>', SYN, { seq: 3_000_000_000 }],
      ['<', SYN | ACK, { seq: 2_000_000_000, ack: 3_000_000_001 }],
      ['>', ACK, { seq: 3_000_000_001, ack: 2_000_000_001 }],
      ['>', ACK, { seq: 3_000_000_001, ack: 2_000_000_001, bytes: 1000 }],
      ['<', ACK, { seq: 2_000_000_001, ack: 3_000_001_001, bytes: 1000 }],
    ])
    expect(states).toEqual(['established', 'syn_recv', ...Array<string>(3).fill('established')])
    expect(lab.conntrack.count).toBe(1)
    expect(lab.tcp('<', RST, { seq: 2_000_001_001 })).toBe(0)
    expect(lab.state(flow)).toBe('close')
  })

  it('forgets nothing when a wrong answer to a SYN is refused', () => {
    const { flow } = lab.see(segment('>', SYN, { seq: 100 }))
    expect(lab.tcp('<', SYN | ACK, { seq: 500, ack: 90_000 })).toBe(INVALID)
    expect(lab.state(flow)).toBe('syn_sent')
    expect(lab.tcp('<', SYN | ACK, { seq: 2_000_000, ack: 101 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 101, ack: 2_000_001 })).toBe(0)
    expect(lab.state(flow)).toBe('established')
  })

  it('does not know how long a fragmented segment is, and refuses no answer to it', () => {
    lab.handshake()
    const first = { seq: 101, ack: 501, bytes: 100, fragment: MORE_FRAGMENTS }
    expect(lab.tcp('>', ACK, first)).toBe(0)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 901 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 901, ack: 501, bytes: 100 })).toBe(0)
  })
})

describe('resets', () => {
  it('refuses one that is older than what was acknowledged', () => {
    const flow = lab.handshake()
    expect(lab.tcp('<', RST, { seq: 500 })).toBe(INVALID)
    expect(lab.tcp('<', RST, { seq: 9_000_000 })).toBe(INVALID)
    expect(lab.state(flow)).toBe('established')
  })

  it('believes one at the acknowledged octet, or right after what its sender sent', () => {
    for (const seq of [501, 521]) {
      lab = new ConntrackLab()
      const flow = lab.handshake()
      expect(lab.tcp('<', ACK, { seq: 501, ack: 101, bytes: 20 })).toBe(0)
      expect(lab.tcp('<', RST | ACK, { seq, ack: 101 })).toBe(0)
      expect(lab.state(flow)).toBe('close')
      lab.pass(11_000)
      expect(lab.conntrack.count).toBe(0)
    }
  })

  it('lets one elsewhere in the window pass without ending the connection (RFC 5961 §3)', () => {
    const flow = lab.handshake()
    expect(lab.tcp('<', ACK, { seq: 501, ack: 101 })).toBe(0)
    expect(lab.tcp('<', RST, { seq: 700 })).toBe(0)
    expect(lab.state(flow)).toBe('established')
    expect(lab.conntrack.remainingMs(flow)).toBeGreaterThan(DAY_MS)
  })

  it('ends a connection that was refused', () => {
    const { flow } = lab.see(segment('>', SYN, { seq: 100 }))
    expect(lab.tcp('<', RST | ACK, { seq: 0, ack: 101 })).toBe(0)
    expect(lab.state(flow)).toBe('close')
  })

  it('refuses a reset for a SYN by somebody who did not see it', () => {
    const { flow } = lab.see(segment('>', SYN, { seq: 100 }))
    expect(lab.tcp('<', RST | ACK, { seq: 0, ack: 70_000 })).toBe(INVALID)
    expect(lab.state(flow)).toBe('syn_sent')
  })

  it('ends a connection whose server knows nothing of it any more', () => {
    const flow = lab.handshake()
    expect(lab.tcp('>', SYN, { seq: 3_000_000_000 })).toBe(0)
    expect(lab.tcp('<', RST | ACK, { seq: 0, ack: 3_000_000_001 })).toBe(0)
    expect(lab.state(flow)).toBe('close')
  })

  it('ends a connection whose client resets what a challenge told it of', () => {
    const flow = lab.handshake()
    expect(lab.tcp('>', SYN, { seq: 3_000_000_000 })).toBe(0)
    expect(lab.tcp('<', ACK, { seq: 501, ack: 101 })).toBe(0)
    expect(lab.tcp('>', RST, { seq: 101 })).toBe(0)
    expect(lab.state(flow)).toBe('close')
    expect(lab.tcp('>', SYN, { seq: 3_000_000_000 })).toBe(0)
    expect(lab.state(flow)).toBe('syn_sent')
  })
})

describe('connections seen first in their middle', () => {
  it('are believed, and assured when they are answered', () => {
    const { flow, verdict } = lab.see(segment('>', ACK, { seq: 5_000_000, ack: 7_000_000 }))
    expect(verdict).toBe(0)
    expect(lab.state(flow)).toBe('established')
    expect(lab.conntrack.isAssured(flow)).toBe(false)
    expect(lab.conntrack.remainingMs(flow)).toBe(300_000)
    expect(lab.tcp('<', ACK, { seq: 7_000_000, ack: 5_000_000, bytes: 1400 })).toBe(0)
    expect(lab.conntrack.isAssured(flow)).toBe(true)
    expect(lab.tcp('<', ACK, { seq: 7_900_000, ack: 5_000_000, bytes: 1400 })).toBe(0)
    expect(lab.tcp('>', ACK, { seq: 5_000_000, ack: 7_901_400 })).toBe(0)
    expect(lab.conntrack.remainingMs(flow)).toBe(5 * DAY_MS)
  })
})

describe('timeouts', () => {
  it('are those of the state', () => {
    const { flow } = lab.see(segment('>', SYN, { seq: 100 }))
    const left = (): number => lab.conntrack.remainingMs(flow) / 1000
    expect(left()).toBe(120)
    lab.tcp('<', SYN | ACK, { seq: 500, ack: 101 })
    expect(left()).toBe(60)
    lab.tcp('>', ACK, { seq: 101, ack: 501 })
    expect(left()).toBe(432_000)
    lab.tcp('>', FIN | ACK, { seq: 101, ack: 501 })
    expect(left()).toBe(120)
    lab.tcp('<', ACK, { seq: 501, ack: 102 })
    expect(left()).toBe(60)
    lab.tcp('<', FIN | ACK, { seq: 501, ack: 102 })
    expect(left()).toBe(30)
    lab.tcp('>', ACK, { seq: 102, ack: 502 })
    expect(left()).toBe(120)
  })

  it('are short while data is not acknowledged', () => {
    const flow = lab.handshake()
    lab.tcp('>', ACK, { seq: 101, ack: 501, bytes: 100 })
    expect(lab.conntrack.remainingMs(flow)).toBe(300_000)
    lab.tcp('<', ACK, { seq: 501, ack: 201 })
    expect(lab.conntrack.remainingMs(flow)).toBe(5 * DAY_MS)
    lab.pass(4 * DAY_MS)
    expect(lab.conntrack.count).toBe(1)
  })

  it('may be chosen', () => {
    const timeouts = { tcpEstablishedMs: 3000, tcpUnacknowledgedMs: 2000 }
    lab = new ConntrackLab({ timeouts })
    const flow = lab.handshake()
    expect(lab.conntrack.remainingMs(flow)).toBe(3000)
    lab.tcp('>', ACK, { seq: 101, ack: 501, bytes: 100 })
    expect(lab.conntrack.remainingMs(flow)).toBe(2000)
    lab.pass(3000)
    expect(lab.conntrack.count).toBe(0)
  })
})
