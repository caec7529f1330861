import { describe, expect, it } from 'vitest'
import { ExpiryResets } from '../../stack/ip/expiry_resets.ts'
import { ipOf, isTransportIntact, type Sent, tcp } from './lab.ts'
import { NatLab, PLAN4, PLAN6, type Plan } from './nat_lab.ts'

const SYN = 2
const RST = 4
const ACK = 0x10
const IDLE_MS = 60_000

/** What a TCP segment says, after the addresses. */
function sequenceOf(sent: Sent): { flags: number; seq: number } {
  const ip = ipOf(sent)
  const at = ip[0]! >>> 4 === 6 ? 40 : 20
  const view = new DataView(ip.buffer, ip.byteOffset)
  expect(isTransportIntact(ip)).toBe(true)
  return { flags: ip[at + 13]!, seq: view.getUint32(at + 4) }
}

describe.each([
  ['IPv4', PLAN4],
  ['IPv6', PLAN6],
])('a translated connection that was idle for too long, %s', (_, plan: Plan) => {
  const { client, uplink, outside } = plan
  const segment = (
    [from, fromPort]: readonly [string, number],
    [to, toPort]: readonly [string, number],
    flags: number,
    [seq, ack]: readonly [number, number],
    bytes = 0,
  ): Uint8Array =>
    tcp({ from, to }, { from: fromPort, to: toPort, flags, seq, ack }, new Uint8Array(bytes))

  /** Client has sent up to 1101, the server up to 5051. */
  function open(enabled: boolean): NatLab {
    const lab = new NatLab()
    const { pool, conntrack, router } = lab
    conntrack.setTimeouts({ tcpEstablishedMs: IDLE_MS })
    const send = (packet: Parameters<typeof router.originate>[0]): void =>
      router.originate(packet, lab.front)
    new ExpiryResets({ pool, conntrack, send }).enabled = enabled
    const [a, b, e] = [
      [client, 700],
      [outside, 80],
      [uplink, 700],
    ] as const
    lab.line(lab.front, segment(a, b, SYN, [1000, 0]))
    lab.line(lab.up, segment(b, e, SYN | ACK, [5000, 1001]))
    lab.line(lab.front, segment(a, b, ACK, [1001, 5001], 100))
    lab.line(lab.up, segment(b, e, ACK, [5001, 1101], 50))
    lab.line(lab.front, segment(a, b, ACK, [1101, 5051]))
    return lab
  }

  it('is reset both ways, with the numbers that its ends expect', () => {
    const lab = open(true)
    lab.run(IDLE_MS + 2000)
    const sent = lab.take().filter(({ bytes }) => bytes.length >= 54)
    const lines = sent.map((one) => ({ leg: one.leg, ...sequenceOf(one) }))
    expect(lines).toEqual([
      { leg: 'front', flags: RST, seq: 5051 },
      { leg: 'up', flags: RST, seq: 1101 },
    ])
    expect(lab.conntrack.count).toBe(0)
    lab.end()
  })

  it('just goes where it was not asked for, or when it is deleted', () => {
    const lab = open(false)
    lab.run(IDLE_MS + 2000)
    expect(lab.conntrack.count).toBe(0)
    expect(lab.take().filter(({ bytes }) => bytes.length >= 54)).toEqual([])
    lab.end()
  })
})
