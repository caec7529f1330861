/**
 * What every underlay must do, whatever carries it. One suite, run against each implementation: a
 * fixture opens two of them that reach each other, and lets what was sent arrive.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { type Address, parseAddress, sameAddress } from '../../stack/address.ts'
import { DropReason } from '../../stack/drop.ts'
import { GsoType, type Packet, type Pool } from '../../stack/packet.ts'
import { NO_PEER, type Underlay } from '../../stack/udp/underlay.ts'
import {
  frame,
  HOST_MAC,
  isTransportIntact,
  pattern,
  pseudo,
  tcp,
  u16,
  u32,
  udp,
} from '../ip/lab.ts'

export interface UnderlayEnd {
  /** Made with `checked: true`. */
  readonly pool: Pool
  readonly underlay: Underlay
}

export interface UnderlayFixture {
  readonly a: UnderlayEnd
  readonly b: UnderlayEnd
  /** Let what was sent arrive; `done` tells that no more is waited for. */
  settle(done: () => boolean): void | Promise<void>
  /** Run what opens a socket of an end where that end is. */
  inside<T>(end: UnderlayEnd, run: () => T): T
  /** Run what sends as if in one turn of the engine, at whose end it leaves. */
  together(run: () => void): void
  /** Close what was opened besides the two. Called after they were closed. */
  cleanup(): void | Promise<void>
}

export interface UnderlaySuiteOptions {
  readonly name: string
  readonly make: () => UnderlayFixture | Promise<UnderlayFixture>
}

/** A tunnel header that survives: eight octets, told apart from zeros. */
const PREFIX = Uint8Array.from([0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0])
const ECT0 = 2

interface Received {
  readonly bytes: Uint8Array
  readonly peer: number
  readonly segmentBytes: number
  readonly tos: number
  readonly ingress: number
  readonly from: Address
}

class Ends {
  readonly fixture: UnderlayFixture
  readonly received: Received[] = []

  constructor(fixture: UnderlayFixture) {
    this.fixture = fixture
    const { pool, underlay } = fixture.b
    underlay.onDatagram = (packet, peer, segmentBytes, tos) => {
      const { head, len, ingress, csumStart, gsoType } = packet
      expect({ csumStart, gsoType }).toEqual({ csumStart: 0, gsoType: 0 })
      const bytes = pool.mem.slice(head, head + len)
      const from = underlay.sourceOf().address
      this.received.push({ bytes, peer, segmentBytes, tos, ingress, from })
      pool.free(packet)
    }
  }

  /** The number of the other end, as a peer of `of`. */
  addPeer(of: UnderlayEnd, to: UnderlayEnd): number {
    const { address, udpPort } = to.underlay
    return of.underlay.addPeer({ address, udpPort })
  }

  send(payload: Uint8Array, peer: number, tos = 0, facts: Partial<Packet> = {}): void {
    this.queue(payload, peer, tos, facts)
    this.fixture.a.underlay.flush()
  }

  /** Leave the flush to whoever sends more. */
  queue(payload: Uint8Array, peer: number, tos = 0, facts: Partial<Packet> = {}): void {
    const { pool, underlay } = this.fixture.a
    const packet = pool.alloc(PREFIX.length + payload.length)!
    pool.mem.set(PREFIX, packet.head)
    pool.mem.set(payload, packet.head + PREFIX.length)
    packet.len = PREFIX.length + payload.length
    const { csumStart = 0, ...rest } = facts
    Object.assign(packet, rest)
    if (csumStart !== 0) packet.csumStart = packet.head + PREFIX.length + csumStart
    underlay.send(packet, peer, PREFIX.length, tos)
  }

  /** Single datagrams: what came joined is taken apart. */
  async datagrams(count: number): Promise<Uint8Array[]> {
    const apart = (): Uint8Array[] =>
      this.received.flatMap(({ bytes, segmentBytes }) => {
        const all: Uint8Array[] = []
        const step = segmentBytes > 0 ? segmentBytes : bytes.length
        for (let at = 0; at < bytes.length; at += step) all.push(bytes.slice(at, at + step))
        return all
      })
    await this.fixture.settle(() => apart().length >= count)
    return apart()
  }
}

/** A super-frame as a TAP hands it over: the transport checksum is the pseudo-header's sum. */
function superFrame(six: boolean, datagram: boolean, payload: Uint8Array): Uint8Array {
  const ends = six
    ? { from: 'fd00:1::11', to: 'fd00:1::12' }
    : { from: '10.1.0.11', to: '10.1.0.12' }
  const protocol = datagram ? 17 : 6
  const header = { ...ends, protocol, next: protocol }
  const packet = datagram
    ? udp(header, { to: 4000 }, payload)
    : tcp(header, { to: 80, seq: 7, flags: 0x18 }, payload)
  const bytes = frame(HOST_MAC, packet)
  const l4 = 14 + (six ? 40 : 20)
  const partial = pseudo({ ...ends, protocol }, bytes.length - l4)
  bytes.set([partial >>> 8, partial & 0xff], l4 + (datagram ? 6 : 16))
  return bytes
}

export function underlaySuite({ name, make }: UnderlaySuiteOptions): void {
  describe(`underlay: ${name}`, () => {
    let ends: Ends | undefined

    async function open(): Promise<Ends> {
      ends = new Ends(await make())
      return ends
    }

    afterEach(async () => {
      if (ends === undefined) return
      const { a, b, cleanup } = ends.fixture
      for (const { underlay } of [a, b, a]) underlay.close()
      await cleanup()
      expect([...a.pool.leaks(), ...b.pool.leaks()]).toEqual([])
      ends = undefined
    })

    it('carries a datagram, and tells whose it is', async () => {
      const it = await open()
      const { a, b } = it.fixture
      const to = it.addPeer(a, b)
      const back = it.addPeer(b, a)
      it.send(pattern(100), to)
      const [datagram] = await it.datagrams(1)
      expect(datagram).toEqual(Uint8Array.from([...PREFIX, ...pattern(100)]))
      expect(it.received[0]).toMatchObject({ peer: back, ingress: b.underlay.port })
      expect(it.received[0]!.segmentBytes).toBeGreaterThanOrEqual(108)
    })

    it('hands over what comes from nobody it knows, with its sender', async () => {
      const it = await open()
      const { a, b } = it.fixture
      it.send(pattern(60), it.addPeer(a, b))
      await it.datagrams(1)
      expect(it.received[0]!.peer).toBe(NO_PEER)
      expect(sameAddress(it.received[0]!.from, a.underlay.address)).toBe(true)
    })

    it('counts the uses of a peer', async () => {
      const it = await open()
      const { a, b } = it.fixture
      const number = it.addPeer(a, b)
      expect(it.addPeer(a, b)).toBe(number)
      expect(a.underlay.peer(number)).toMatchObject({ udpPort: b.underlay.udpPort })
      a.underlay.removePeer(number)
      it.send(pattern(60), number)
      expect(await it.datagrams(1)).toHaveLength(1)
      a.underlay.removePeer(number)
      expect(a.underlay.peer(number)).toBeUndefined()
      const before = a.pool.counters.drops(0, DropReason.DeviceDown)
      it.send(pattern(60), number)
      expect(a.pool.counters.drops(0, DropReason.DeviceDown)).toBe(before + 1)
    })

    it('hears a multicast group for as long as it is a peer', async () => {
      const it = await open()
      const { a, b, inside } = it.fixture
      const address = parseAddress(a.underlay.address.family === 4 ? '239.7.7.7' : 'ff05::77')
      const group = { address, udpPort: a.underlay.udpPort }
      const echo: number[] = []
      a.underlay.onDatagram = (packet) => {
        echo.push(packet.len)
        a.pool.free(packet)
      }
      const [to, at] = [a, b].map((end) => inside(end, () => end.underlay.addPeer(group)))
      const from = it.addPeer(b, a)
      it.send(pattern(60), to!)
      await it.datagrams(1)
      expect(it.received[0]).toMatchObject({ peer: from, ingress: b.underlay.port })
      expect(sameAddress(it.received[0]!.from, a.underlay.address)).toBe(true)
      b.underlay.removePeer(at!)
      it.send(pattern(70), to!)
      it.send(pattern(80), it.addPeer(a, b))
      const lengths = (await it.datagrams(2)).map(({ length }) => length)
      expect(lengths).toEqual([60 + PREFIX.length, 80 + PREFIX.length])
      expect(echo).toEqual([])
    })

    it.each([0, ECT0, 3, 0xb8, 0xb8 | ECT0])('carries TOS %i', async (tos) => {
      const it = await open()
      const { a, b } = it.fixture
      it.send(pattern(60), it.addPeer(a, b), tos)
      await it.datagrams(1)
      expect(it.received[0]!.tos).toBe(tos)
    })

    it('keeps the order', async () => {
      const it = await open()
      const { a, b } = it.fixture
      const to = it.addPeer(a, b)
      for (let i = 0; i < 50; i++) it.send(Uint8Array.of(i, 1, 2, 3), to)
      const all = await it.datagrams(50)
      expect(all.map((datagram) => datagram[8])).toEqual(Array.from({ length: 50 }, (_, i) => i))
    })

    it('keeps apart what is sent at once, more than one message takes', async () => {
      const it = await open()
      const { a, b } = it.fixture
      const to = it.addPeer(a, b)
      const room = a.underlay.pathMtuBytes(to) - 48 - PREFIX.length
      // One size for long, then shorter, longer, again the same, and as large as there may be.
      const sizes = [...Array<number>(90).fill(60), 20, 60, 60, 61, 60, 4, 4, 3, 4]
      sizes.push(...Array<number>(50).fill(room), 1, room)
      // Zeros where a frame's type is: one flow to all who look for flows.
      const sent = sizes.map((bytes, i) =>
        new Uint8Array(bytes).fill(i + 1, Math.min(bytes - 1, 14)),
      )
      it.fixture.together(() => {
        for (const [i, bytes] of sent.entries()) it.queue(bytes, to, i % 40 < 35 ? 0 : ECT0)
      })
      a.underlay.flush()
      const all = await it.datagrams(sent.length)
      expect(all.map((bytes) => bytes.length - PREFIX.length)).toEqual(sizes)
      for (const [i, bytes] of all.entries()) {
        expect(Buffer.compare(bytes.subarray(PREFIX.length), sent[i]!), `datagram ${i}`).toBe(0)
      }
      const marked = it.received.filter(({ tos }) => tos === ECT0)
      const counts = marked.map(({ bytes, segmentBytes }) => Math.ceil(bytes.length / segmentBytes))
      const wanted = sent.filter((_, i) => i % 40 >= 35).length
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(wanted)
    })

    it('carries what the path takes, and not an octet more', async () => {
      const it = await open()
      const { a, b } = it.fixture
      const to = it.addPeer(a, b)
      const outer = (a.underlay.address.family === 4 ? 20 : 40) + 8 + PREFIX.length
      const most = a.underlay.pathMtuBytes(to) - outer
      it.send(pattern(most), to)
      expect((await it.datagrams(1)).map(({ length }) => length)).toEqual([most + PREFIX.length])
      it.send(pattern(most + 1), to)
      it.send(pattern(10), to)
      expect((await it.datagrams(2)).map(({ length }) => length)).toEqual([most + 8, 18])
    })

    it('carries no more than a limit, but what tries the path', async () => {
      const it = await open()
      const { a, b } = it.fixture
      const to = it.addPeer(a, b)
      const hostBytes = a.underlay.hostPathBytes(to)
      const outer = (a.underlay.address.family === 4 ? 20 : 40) + 8
      const told: number[] = []
      a.underlay.onPathMtu = (peer, mtuBytes) => told.push(peer, mtuBytes)
      const limit = 1300
      a.underlay.limitPath(to, limit)
      a.underlay.limitPath(to, limit)
      expect([a.underlay.pathMtuBytes(to), a.underlay.hostPathBytes(to)]).toEqual([
        limit,
        hostBytes,
      ])
      const room = limit - outer - PREFIX.length
      it.send(pattern(room + 1), to)
      it.send(pattern(room), to)
      for (const bytes of [hostBytes, hostBytes + 1]) {
        const packet = a.pool.alloc(bytes - outer)!
        packet.len = bytes - outer
        a.pool.mem.fill(0, packet.head, packet.head + packet.len)
        a.underlay.probe(packet, to)
      }
      it.send(pattern(room), to)
      const arrived = (await it.datagrams(3)).map(({ length }) => length + outer)
      expect(arrived.toSorted((x, y) => x - y)).toEqual([limit, limit, hostBytes])
      a.underlay.limitPath(to, 0)
      expect(a.underlay.pathMtuBytes(to)).toBe(hostBytes)
      a.underlay.limitPath(to, hostBytes + 1)
      expect(told).toEqual([to, limit, to, hostBytes])
    })

    it('sums a partial checksum', async () => {
      const it = await open()
      const { a, b } = it.fixture
      const bytes = superFrame(false, true, pattern(33))
      it.send(bytes, it.addPeer(a, b), 0, { csumStart: 34, csumOffset: 6 })
      const [datagram] = await it.datagrams(1)
      expect(isTransportIntact(datagram!.slice(8 + 14))).toBe(true)
    })

    const kinds = [
      ['TCP over IPv4', false, false, GsoType.TcpV4],
      ['TCP over IPv6', true, false, GsoType.TcpV6],
      ['UDP over IPv4', false, true, GsoType.Udp],
      ['UDP over IPv6', true, true, GsoType.Udp],
    ] as const

    it.each(kinds)('cuts a super-frame of %s, the prefix before each', async (...kind) => {
      const [, six, datagram, gsoType] = kind
      const it = await open()
      const { a, b } = it.fixture
      const gsoSize = 1200
      const payload = pattern(60_000)
      const bytes = superFrame(six, datagram, payload)
      const csumStart = 14 + (six ? 40 : 20)
      const csumOffset = datagram ? 6 : 16
      it.send(bytes, it.addPeer(a, b), 0, { gsoType, gsoSize, csumStart, csumOffset })
      const all = await it.datagrams(50)
      expect(all).toHaveLength(50)
      const headers = csumStart + (datagram ? 8 : 20)
      const whole: number[] = []
      for (const [i, each] of all.entries()) {
        expect(each.slice(0, 8)).toEqual(PREFIX)
        const inner = each.slice(8)
        expect(isTransportIntact(inner.slice(14))).toBe(true)
        if (!six) expect(u16(inner, 14 + 2)).toBe(inner.length - 14)
        if (!datagram) expect(u32(inner, csumStart + 4)).toBe(7 + i * gsoSize)
        whole.push(...inner.slice(headers))
      }
      expect(Buffer.from(whole).equals(payload)).toBe(true)
    })

    it('refuses a super-frame whose facts are wrong', async () => {
      const it = await open()
      const { a, b } = it.fixture
      const to = it.addPeer(a, b)
      const facts = { gsoType: GsoType.TcpV6, gsoSize: 1200, csumStart: 34, csumOffset: 16 }
      it.send(superFrame(false, false, pattern(4000)), to, 0, facts)
      expect(a.pool.counters.drops(0, DropReason.FrameOffloadBad)).toBe(1)
      it.send(pattern(20), to)
      expect(await it.datagrams(1)).toHaveLength(1)
    })

    it('drops what is sent after it was closed', async () => {
      const it = await open()
      const { a, b } = it.fixture
      const to = it.addPeer(a, b)
      a.underlay.close()
      it.send(pattern(20), to)
      expect(a.pool.counters.drops(0, DropReason.DeviceDown)).toBe(1)
    })
  })
}
