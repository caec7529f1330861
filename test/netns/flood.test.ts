/**
 * A SYN flood from invented sources against a published port, with a small connection table: what
 * is there already goes on, in through the port and out through masquerade, and is the same
 * connection to the table; the table keeps its limit; and new connections work right after it.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client } from '../../services/client.ts'
import { put16, u16 } from '../../stack/bytes.ts'
import { update } from '../../stack/checksum.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import type { ConntrackRow } from '../../stack/ip/conntrack_list.ts'
import { Netlink } from '../../stack/native/netlink.ts'
import { inNetns } from '../../stack/native/netns.ts'
import { Random } from '../../stack/random.ts'
import { frame, tcp } from '../ip/lab.ts'
import { Lab } from './lab.ts'
import { FRONT, OUT4, OUT6, OWN4, OWN6, onFront, uplinkOf } from './outside.ts'
import { PacketSocket } from './packet_socket.ts'
import { ECHO, type Held, HOLD, Talk } from './talk.ts'

const SYN = 2

const CONNECTIONS_MAX = 500
const FLOOD_FRAMES = 60_000
/** Frames between two looks at everything else. */
const BURST = 100
/** Connections of each kind that are to outlive it. */
const HELD = 20
const ANSWERS = 20

function file(lab: Lab): string {
  return `
name: ${lab.prefix}
networks:
${FRONT}
sandboxes:
${onFront(lab, 'web', 11)}
    ports: [ "8080:80" ]
${uplinkOf(lab)}
`
}

/** A SYN to the published port, and where in it the lowest part of the source's address is. */
interface Template {
  readonly bytes: Uint8Array
  readonly source: number
  readonly checksums: readonly number[]
}

function template(mac: string, four: boolean): Template {
  const header = four ? { from: '11.0.0.0', to: OWN4 } : { from: '2001:db8:f::', to: OWN6 }
  const bytes = frame(parseMac(mac), tcp(header, { to: 8080, flags: SYN }, new Uint8Array()))
  return four
    ? { bytes, source: 14 + 14, checksums: [14 + 10, 14 + 20 + 16] }
    : { bytes, source: 14 + 22, checksums: [14 + 40 + 16] }
}

/** From another source, with right checksums. */
function invent({ bytes, source, checksums }: Template, random: Random): void {
  const [before, after] = [u16(bytes, source), random.bits() & 0xffff]
  put16(bytes, source, after)
  for (const at of checksums) put16(bytes, at, update(u16(bytes, at), before, after))
}

/** A raw socket on the outer side of the uplink. */
function outerSocket(lab: Lab): PacketSocket {
  return inNetns(lab.ns('out'), () => {
    const netlink = new Netlink()
    const { index } = netlink.link('tapline0')!
    netlink.close()
    return new PacketSocket(index)
  })
}

describe.each(['io_uring', 'poll'])('a SYN flood with a small connection table, %s', (engine) => {
  const lab = new Lab()
  const client = new Client(lab.socket)

  const hold = async (from: string, to: string, port: number, count: number): Promise<Talk> => {
    const talk = new Talk(lab, from, HOLD, to, `${port}`, `${count}`)
    expect(await talk.hear()).toBe('"open"')
    return talk
  }
  /** Packets that each connection from there has had so far, by its port. */
  const tracked = async (src: string): Promise<Map<number, number>> => {
    const rows = await client.get<ConntrackRow[]>('conntrack', { src, state: 'established' })
    return new Map(rows.map(({ original }) => [original.srcPort, original.packets]))
  }
  const sources = ['203.0.113.1', '2001:db8::1', '10.1.0.11', 'fd00:1::11']

  beforeAll(async () => {
    const options = ['--engine', engine, '--connections', `${CONNECTIONS_MAX}`]
    await lab.up(file(lab), options)
    for (const [sandbox, port] of [
      ['web', '80'],
      ['out', '7001'],
    ] as const) {
      expect(await new Talk(lab, sandbox, ECHO, port).hear()).toBe('"listens"')
    }
  })

  afterAll(async () => {
    expect(await lab.end()).toEqual({ code: 0, left: [] })
  })

  it('leaves what is there alone, and what comes after it', async ({ annotate }) => {
    const held = [
      await hold('out', OWN4, 8080, HELD),
      await hold('out', OWN6, 8080, HELD),
      await hold('web', OUT4, 7001, HELD),
      await hold('web', OUT6, 7001, HELD),
    ]
    const ask = (): Promise<Held[]> => Promise.all(held.map((talk) => talk.ask<Held>('?')))
    const least = async (): Promise<number> => Math.min(...(await ask()).map((each) => each.least))
    await expect.poll(least, { timeout: 20_000 }).toBeGreaterThan(2 * ANSWERS)
    const before = await Promise.all(sources.map(tracked))
    for (const counts of before) expect(counts.size).toBe(HELD)
    const answered = await ask()

    const socket = outerSocket(lab)
    const { uplink } = await client.get<{ uplink: { mac: string } }>('inspect')
    const random = new Random(3)
    const templates = [template(uplink.mac, true), template(uplink.mac, false)]
    let [most, sent] = [0, 0]
    for (let i = 0; i < FLOOD_FRAMES; i++) {
      const chosen = templates[i & 1]!
      invent(chosen, random)
      if (trySend(socket, chosen.bytes)) sent++
      if (i % BURST !== 0) continue
      await new Promise((resolve) => setImmediate(resolve))
      if (i % (50 * BURST) !== 0) continue
      most = Math.max(most, (await client.get<unknown[]>('conntrack')).length)
    }
    socket.close()
    const full = (await client.get<unknown[]>('conntrack')).length
    await annotate(`${sent} SYNs, at most ${most} connections, ${engine}`)
    expect(sent).toBeGreaterThan(FLOOD_FRAMES / 2)
    expect(Math.max(most, full)).toBe(CONNECTIONS_MAX)

    const later = await hold('out', OWN4, 8080, HELD)
    const later6 = await hold('out', OWN6, 8080, HELD)
    const outwards = await hold('web', OUT4, 7001, HELD)
    for (const talk of [later, later6, outwards]) {
      const count = async (): Promise<number> => (await talk.ask<Held>('?')).least
      await expect.poll(count, { timeout: 20_000 }).toBeGreaterThan(ANSWERS)
      expect((await talk.ask<Held>('?')).broken).toBe(0)
    }
    const after = await Promise.all(sources.map(tracked))
    for (const [i, counts] of before.entries()) {
      // An entry that was lost and made anew would have begun counting anew.
      for (const [port, count] of counts) expect(after[i]!.get(port) ?? 0).toBeGreaterThan(count)
    }
    for (const [i, { least: count, broken }] of (await ask()).entries()) {
      expect(broken).toBe(0)
      expect(count - answered[i]!.least).toBeGreaterThan(ANSWERS)
    }
  }, 120_000)
})

/** False if the queue of the interface is full. */
function trySend(socket: PacketSocket, bytes: Uint8Array): boolean {
  try {
    socket.send(bytes)
    return true
  } catch {
    return false
  }
}
