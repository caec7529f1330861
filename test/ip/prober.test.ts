/** Probes against a far station in the hands of the test: what is asked, and what counts. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { PROBES_MAX, type Probe, type ProbeResult } from '../../stack/ip/prober.ts'
import {
  A4,
  A6,
  echo4,
  icmp6,
  ip4,
  ipOf,
  isTransportIntact,
  type Lab,
  pattern,
  tcp,
  twoNetworks,
  u16,
  u32,
  udp,
} from './lab.ts'
import { mappingOf, NatLab, PLAN4 } from './nat_lab.ts'

const GATEWAY = { 4: '10.1.0.1', 6: 'fd00:1::1' } as const
const HOST = { 4: A4, 6: A6 } as const
const FLAGS = { syn: 2, rst: 4, ack: 16 } as const
const families = [4, 6] as const

interface Asked {
  readonly results: ProbeResult[]
  /** The packet sent, and where its transport begins. */
  readonly packet: Uint8Array
  readonly at: number
  readonly cancel: () => void
}

function ask(lab: Lab, target: string, probe: Partial<Probe>): Asked {
  const results: ProbeResult[] = []
  const cancel = lab.router.prober.probe({
    kind: 'tcp',
    target: parseAddress(target),
    port: 80,
    timeoutMs: 1000,
    done: (result) => results.push(result),
    ...probe,
  })
  expect(results, 'never within the call').toEqual([])
  const packet = ipOf(lab.one())
  return { results, packet, at: packet[0]! >>> 4 === 6 ? 40 : 20, cancel }
}

/** The answer of an ICMP error that quotes `packet`. */
function errorAbout(family: 4 | 6, packet: Uint8Array, code: number): Uint8Array {
  const header = { from: HOST[family], to: GATEWAY[family] }
  const message = new Uint8Array(8 + packet.length)
  message.set([family === 4 ? 3 : 1, code])
  message.set(packet, 8)
  if (family === 6) return icmp6(header, message)
  let total = 0
  for (let i = 0; i < message.length; i += 2) total += message[i]! * 256 + (message[i + 1] ?? 0)
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  new DataView(message.buffer).setUint16(2, ~total & 0xffff)
  return ip4({ ...header, protocol: 1 }, message)
}

describe.each(families)('a probe over IPv%i', (family) => {
  const back = { from: HOST[family], to: GATEWAY[family] }

  it('tcp: a SYN; its answer is reset', () => {
    const { lab, front } = twoNetworks()
    const { packet, at, results } = ask(lab, HOST[family], {})
    expect(isTransportIntact(packet)).toBe(true)
    expect(u16(packet, at + 2)).toBe(80)
    expect(packet[at + 13]).toBe(FLAGS.syn)
    const [own, seq] = [u16(packet, at), u32(packet, at + 4)]
    const ack = (seq + 1) >>> 0
    const answer = { from: 80, to: own, seq: 7777, ack, flags: FLAGS.syn | FLAGS.ack }
    lab.ip(front, tcp(back, answer, pattern(0)))
    expect(results).toEqual(['answered'])
    const reset = ipOf(lab.one())
    expect(isTransportIntact(reset)).toBe(true)
    expect([u16(reset, at), u16(reset, at + 2)]).toEqual([own, 80])
    expect([reset[at + 13], u32(reset, at + 4)]).toEqual([FLAGS.rst, ack])
    lab.run(2000)
    expect(results, 'told once').toEqual(['answered'])
    lab.end()
  })

  it('tcp: a reset refuses, and only one that knows the SYN', () => {
    const { lab, front } = twoNetworks()
    const { packet, at, results } = ask(lab, HOST[family], {})
    const [own, seq] = [u16(packet, at), u32(packet, at + 4)]
    const answer = { from: 80, to: own, ack: (seq + 1) >>> 0, flags: FLAGS.rst | FLAGS.ack }
    lab.ip(front, tcp(back, { ...answer, ack: seq }, pattern(0)))
    lab.ip(front, tcp(back, { ...answer, from: 81 }, pattern(0)))
    lab.ip(front, tcp(back, { ...answer, flags: FLAGS.rst }, pattern(0)))
    expect(results).toEqual([])
    lab.ip(front, tcp(back, answer, pattern(0)))
    expect(results).toEqual(['refused'])
    expect(lab.take()).toEqual([])
    lab.end()
  })

  it('tcp: an old connection of the same port is reset, and no answer', () => {
    const { lab, front } = twoNetworks()
    const { packet, at, results } = ask(lab, HOST[family], {})
    const challenge = { from: 80, to: u16(packet, at), ack: 5, flags: FLAGS.ack }
    lab.ip(front, tcp(back, challenge, pattern(0)))
    expect(ipOf(lab.one())[at + 13]).toBe(FLAGS.rst)
    lab.run(1000)
    expect(results).toEqual(['silent'])
    lab.end()
  })

  it('icmp: an echo request, its reply; another identifier is not it', () => {
    const { lab, front } = twoNetworks()
    const { packet, at, results } = ask(lab, HOST[family], { kind: 'icmp' })
    expect(packet[at]).toBe(family === 4 ? 8 : 128)
    const message = packet.slice(at)
    message[0] = family === 4 ? 0 : 129
    const reply = (id: number): Uint8Array => {
      new DataView(message.buffer).setUint16(4, id)
      new DataView(message.buffer).setUint16(2, 0)
      if (family === 6) return icmp6(back, message)
      const echoed = echo4(back, pattern(0))
      echoed.set(message, 20)
      const sum = u16(echoed, 20) + u16(echoed, 24) + u16(echoed, 26)
      new DataView(echoed.buffer).setUint16(22, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff)
      return echoed
    }
    const id = u16(packet, at + 4)
    lab.ip(front, reply((id + 1) & 0xffff))
    expect(results).toEqual([])
    lab.ip(front, reply(id))
    expect(results).toEqual(['answered'])
    lab.end()
  })

  it('udp: a datagram; what is accepted answers', () => {
    const { lab, front } = twoNetworks()
    const data = pattern(17)
    const { packet, at, results } = ask(lab, HOST[family], {
      kind: 'udp',
      port: 53,
      data,
      accepts: (mem, from, bytes) => bytes === 3 && mem[from] === 9,
    })
    expect(isTransportIntact(packet)).toBe(true)
    expect(packet.slice(at + 8)).toEqual(data)
    const ports = { from: 53, to: u16(packet, at) }
    lab.ip(front, udp(back, ports, Uint8Array.of(8, 0, 0)))
    expect(results).toEqual([])
    expect(lab.take().length, 'port unreachable, as to any stranger').toBe(1)
    lab.ip(front, udp(back, ports, Uint8Array.of(9, 0, 0)))
    expect(results).toEqual(['answered'])
    lab.end()
  })

  it.each(['tcp', 'udp', 'icmp'] as const)('%s: errors that quote it', (kind) => {
    const { lab, front } = twoNetworks()
    const closed = ask(lab, HOST[family], { kind, port: 9 })
    lab.ip(front, errorAbout(family, closed.packet, family === 4 ? 3 : 4))
    expect(closed.results).toEqual(['refused'])
    const away = ask(lab, HOST[family], { kind, port: 9 })
    lab.ip(front, errorAbout(family, away.packet, family === 4 ? 1 : 3))
    expect(away.results).toEqual(['unreachable'])
    expect(lab.take()).toEqual([])
    lab.end()
  })
})

describe('probes', () => {
  it('are silent in the end, or taken back', () => {
    const { lab } = twoNetworks()
    const left = ask(lab, A4, { timeoutMs: 300 })
    const taken = ask(lab, A4, { timeoutMs: 300 })
    taken.cancel()
    lab.run(299)
    expect(left.results).toEqual([])
    lab.run(1)
    expect(left.results).toEqual(['silent'])
    expect(taken.results).toEqual([])
    expect(lab.router.prober.count).toBe(0)
    lab.end()
  })

  it('without a way there are told so, later', () => {
    const { lab } = twoNetworks()
    const results: ProbeResult[] = []
    const base = { kind: 'icmp', port: 0, timeoutMs: 1000 } as const
    const done = (result: ProbeResult): number => results.push(result)
    lab.router.prober.probe({ ...base, target: parseAddress('192.0.2.1'), done })
    lab.router.prober.probe({ ...base, target: parseAddress('10.1.0.1'), done })
    lab.router.prober.probe({ ...base, target: parseAddress('192.0.2.1'), done })()
    expect(results).toEqual([])
    lab.run(0)
    expect(results).toEqual(['unreachable', 'unreachable'])
    lab.end()
  })

  it('are bounded', () => {
    const { lab } = twoNetworks()
    lab.keep = false
    const results: ProbeResult[] = []
    const target = parseAddress(A4)
    const done = (result: ProbeResult): number => results.push(result)
    for (let i = 0; i <= PROBES_MAX; i++) {
      lab.router.prober.probe({ kind: 'tcp', target, port: 80, timeoutMs: 1000, done })
    }
    lab.run(500)
    expect(results).toEqual(['unsent'])
    lab.run(500)
    expect(results.length).toBe(PROBES_MAX + 1)
    expect(results.filter((result) => result === 'silent').length).toBe(PROBES_MAX)
    lab.end()
  })

  it('a traced answer explains itself, and answers nothing', () => {
    const { lab, front } = twoNetworks()
    const { packet, at, results } = ask(lab, A4, {})
    const answer = { from: 80, to: u16(packet, at), ack: u32(packet, at + 4) + 1, flags: 18 }
    const steps = lab.trace(front, tcp({ from: A4, to: GATEWAY[4] }, answer, pattern(0)))
    expect(steps.at(-1)).toBe('consumed: the answer to a probe of this node')
    expect(results).toEqual([])
    expect(lab.take()).toEqual([])
    lab.end()
  })

  it('use no port that is published', () => {
    const lab = new NatLab()
    const ranges = [
      { port: 1024, count: 30_000 },
      { port: 32_000, count: 33_000 },
    ]
    for (const range of ranges) {
      lab.nat.publish(mappingOf(PLAN4.server, { ...range, targetPort: range.port }))
    }
    const target = parseAddress(PLAN4.client)
    for (let i = 0; i < 50; i++) {
      lab.router.prober.probe({ kind: 'tcp', target, port: 80, timeoutMs: 10, done: () => {} })
    }
    const all = lab.take()
    expect(all.length).toBeGreaterThan(0)
    for (const sent of all) {
      const own = u16(ipOf(sent), 20)
      const taken = ranges.some(({ port, count }) => own >= port && own < port + count)
      expect(taken, `port ${own}`).toBe(false)
    }
    lab.run(10)
    lab.end()
  })

  it('take any garbage without harm', () => {
    const { lab, front } = twoNetworks()
    const { packet, at, results } = ask(lab, A4, { timeoutMs: 1e9 })
    const answer = tcp(
      { from: A4, to: GATEWAY[4] },
      { from: 80, to: u16(packet, at), ack: u32(packet, at + 4) + 1, flags: 18 },
      pattern(4),
    )
    const error = errorAbout(4, packet, 3)
    fc.assert(
      fc.property(
        fc.constantFrom(answer, error),
        fc.nat(60),
        fc.array(fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 255 })), { maxLength: 4 }),
        (vector, cut, flips) => {
          const bytes = vector.slice(0, Math.max(20, vector.length - cut))
          for (const [i, bits] of flips) if (i < bytes.length) bytes[i]! ^= bits
          if (cut === 0 && flips.length === 0) return
          lab.ip(front, bytes)
          lab.take()
        },
      ),
      { seed: 5 },
    )
    expect(results.length).toBeLessThanOrEqual(1)
    lab.run(1e9)
    expect(results.length).toBe(1)
    lab.end()
  })
})
