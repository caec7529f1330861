/**
 * What every device must do, whatever it is made of. One suite, run against each implementation:
 * a fixture opens the device, puts frames in from the far side, and tells what came out there.
 *
 * Use, in a test file:
 * ```ts
 * deviceSuite({ name: 'tap (io_uring)', make: async (options) => ({ pool, device, ... }) })
 * ```
 * Where the far side is a kernel, frames that it sends of its own accord (router solicitations,
 * multicast reports) must be kept away, or be filtered by {@link EtherType} in `sent`: the suite's
 * own frames are all of {@link SUITE_ETHERTYPE}, and received ones of other types are ignored.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { Count } from '../../stack/counters.ts'
import type { Device, Offload } from '../../stack/device.ts'
import { DropReason } from '../../stack/drop.ts'
import { GsoType, type Packet, type Pool } from '../../stack/packet.ts'

/** Local Experimental EtherType 1 (IEEE 802): no kernel answers it. */
const SUITE_ETHERTYPE = 0x88b5

/** Offload facts relative to the start of the frame, as virtio-net has them. */
export interface FrameFacts {
  readonly gsoType: number
  readonly gsoSize: number
  /** 0: the checksum is complete. */
  readonly csumStart: number
  readonly csumOffset: number
}

export const PLAIN: FrameFacts = { gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 }

export interface SentFrame {
  readonly bytes: Uint8Array
  /** Undefined where the far side cannot see them. */
  readonly facts: FrameFacts | undefined
}

export interface DeviceFixture {
  /** Made with `checked: true`. */
  readonly pool: Pool
  readonly device: Device
  /** A frame from the far side towards the device. Facts only if the device offers them. */
  inject(frame: Uint8Array, facts: FrameFacts): void | Promise<void>
  /** What came out at the far side since the last call, in order. */
  sent(): SentFrame[] | Promise<SentFrame[]>
  /** Close what `make` opened besides the device. Called after `device.close`. */
  cleanup(): void | Promise<void>
}

export interface DeviceSuiteOptions {
  readonly name: string
  readonly make: (options: { mtuBytes: number }) => DeviceFixture | Promise<DeviceFixture>
  /** Offloads that the device must offer; left out: none is asked for. */
  readonly offload?: Offload
  /** True if frames below 14 octets cannot be injected at all (a kernel refuses them). */
  readonly refusesRunts?: boolean
  /** True if frames with a VLAN tag are none of its business. */
  readonly refusesTags?: boolean
  /** Milliseconds that a frame may take to arrive; 0 for a device in memory. */
  readonly patienceMs?: number
}

const MTU_BYTES = 1500
/** What a device has to say that nothing was said to is there at once. */
const NOTHING_MS = 200

/** What the device delivered, copied out of its packets. */
interface Received {
  readonly bytes: Uint8Array
  readonly facts: FrameFacts
  readonly ingress: number
}

class Bench {
  readonly received: Received[] = []
  readonly fixture: DeviceFixture
  readonly #patienceMs: number

  constructor(fixture: DeviceFixture, patienceMs: number) {
    this.fixture = fixture
    this.#patienceMs = patienceMs
    fixture.device.output = (packet) => this.#receive(packet)
  }

  #receive(packet: Packet): void {
    const { pool } = this.fixture
    const bytes = pool.mem.slice(packet.head, packet.head + packet.len)
    if (((bytes[12]! << 8) | bytes[13]!) === SUITE_ETHERTYPE || bytes[12] === 0x81) {
      this.received.push({ bytes, facts: factsOf(packet), ingress: packet.ingress })
    }
    pool.free(packet)
  }

  /** Poll until `count` frames came, or patience ends. */
  poll(count: number): Promise<void> {
    return this.pollUntil(() => this.received.length >= count)
  }

  async pollUntil(done: () => boolean, patienceMs: number = this.#patienceMs): Promise<void> {
    const deadline = performance.now() + patienceMs
    do {
      while (this.fixture.device.poll(64) > 0 && !done());
      if (done()) return
      if (patienceMs > 0) await new Promise((resolve) => setTimeout(resolve, 1))
    } while (performance.now() < deadline)
  }

  async sent(count: number): Promise<SentFrame[]> {
    const deadline = performance.now() + this.#patienceMs
    const all: SentFrame[] = []
    do {
      all.push(...(await this.fixture.sent()))
      if (all.length >= count) break
      this.fixture.device.poll(64)
      if (this.#patienceMs > 0) await new Promise((resolve) => setTimeout(resolve, 1))
    } while (performance.now() < deadline)
    return all
  }

  transmit(frame: Uint8Array, facts: FrameFacts = PLAIN): void {
    const { pool, device } = this.fixture
    const packet = packetOf(pool, { bytes: frame, facts })
    if (packet === undefined) throw new Error('the pool is empty')
    device.transmit(packet)
  }

  /** What a trace says of a frame. */
  refusal(frame: Uint8Array): number {
    const { pool, device } = this.fixture
    const packet = packetOf(pool, { bytes: frame, facts: PLAIN })!
    const reason = device.refusal(packet)
    pool.free(packet)
    return reason
  }
}

/** A packet of the pool that is this frame; undefined: the pool is empty. */
export function packetOf(
  pool: Pool,
  { bytes, facts }: { readonly bytes: Uint8Array; readonly facts: FrameFacts },
): Packet | undefined {
  const packet = pool.alloc(bytes.length)
  if (packet === undefined) return undefined
  pool.mem.set(bytes, packet.head)
  packet.len = bytes.length
  packet.gsoType = facts.gsoType
  packet.gsoSize = facts.gsoSize
  packet.csumStart = facts.csumStart === 0 ? 0 : packet.head + facts.csumStart
  packet.csumOffset = facts.csumOffset
  return packet
}

function factsOf(packet: Packet): FrameFacts {
  const { gsoType, gsoSize, csumOffset, head } = packet
  const csumStart = packet.csumStart === 0 ? 0 : packet.csumStart - head
  return { gsoType, gsoSize, csumStart, csumOffset }
}

/** A broadcast frame of `bytes` octets of {@link SUITE_ETHERTYPE}; the payload depends on `n`. */
export function suiteFrame(n: number, bytes: number): Uint8Array {
  const frame = Uint8Array.from({ length: bytes }, (_, i) => (n * 31 + i * 7) & 0xff)
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, n & 0xff].slice(0, bytes))
  if (bytes >= 14) frame.set([SUITE_ETHERTYPE >> 8, SUITE_ETHERTYPE & 0xff], 12)
  return frame
}

function suiteTagged(n: number, bytes: number): Uint8Array {
  const frame = suiteFrame(n, bytes)
  frame.set([0x81, 0x00, 0x00, 0x05, SUITE_ETHERTYPE >> 8, SUITE_ETHERTYPE & 0xff], 12)
  return frame
}

/** Define the suite for one implementation. Call at the top level of a test file. */
export function deviceSuite(options: DeviceSuiteOptions): void {
  describe(`device: ${options.name}`, () => {
    let bench: Bench | undefined

    const open = async (): Promise<Bench> => {
      const fixture = await options.make({ mtuBytes: MTU_BYTES })
      bench = new Bench(fixture, options.patienceMs ?? 0)
      return bench
    }

    afterEach(async () => {
      if (bench === undefined) return
      const { fixture } = bench
      bench = undefined
      fixture.device.close()
      await fixture.cleanup()
      expect(fixture.pool.leaks()).toEqual([])
    })

    receiving(open, options)
    sending(open)
    if (options.offload !== undefined) offloading(open, options.offload)
    ending(open)
  })
}

type Open = () => Promise<Bench>

function receiving(open: Open, options: DeviceSuiteOptions): void {
  it('delivers frames of every size, in order, byte for byte, and counts them', async () => {
    const bench = await open()
    const { device, pool } = bench.fixture
    const before = [Count.RxPackets, Count.RxBytes].map((f) => pool.counters.value(device.port, f))
    const frames = [14, 15, 60, 61, 64, 65, 1000, 1499, 1513, 1514].map((n) => suiteFrame(n, n))
    for (const frame of frames) await bench.fixture.inject(frame, PLAIN)
    await bench.poll(frames.length)
    expect(bench.received.map(({ bytes }) => Buffer.from(bytes).toString('hex'))).toEqual(
      frames.map((bytes) => Buffer.from(bytes).toString('hex')),
    )
    for (const { ingress, facts } of bench.received) {
      expect(ingress).toBe(device.port)
      expect(facts).toEqual(PLAIN)
    }
    const rxBytes = frames.reduce((sum, { length }) => sum + length, 0)
    expect(pool.counters.value(device.port, Count.RxPackets) - before[0]!).toBeGreaterThanOrEqual(
      frames.length,
    )
    expect(pool.counters.value(device.port, Count.RxBytes) - before[1]!).toBeGreaterThanOrEqual(
      rxBytes,
    )
  })

  it('delivers at most the budget a poll', async () => {
    const bench = await open()
    for (let n = 0; n < 10; n++) await bench.fixture.inject(suiteFrame(n, 100), PLAIN)
    const deadline = performance.now() + (options.patienceMs ?? 0)
    do {
      const before = bench.received.length
      const count = bench.fixture.device.poll(3)
      expect(bench.received.length - before).toBeLessThanOrEqual(3)
      if (count === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    } while (bench.received.length < 10 && performance.now() < deadline + 100)
    expect(bench.received.map(({ bytes }) => bytes[11])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it(`${options.refusesTags ? 'refuses' : 'passes'} a tagged frame of MTU and tag`, async () => {
    const bench = await open()
    const frame = suiteTagged(1, MTU_BYTES + 18)
    await bench.fixture.inject(frame, PLAIN)
    const last = suiteFrame(2, 60)
    await bench.fixture.inject(last, PLAIN)
    await bench.poll(options.refusesTags ? 1 : 2)
    const expected = options.refusesTags ? [last] : [frame, last]
    expect(bench.received.map(({ bytes }) => bytes)).toEqual(expected)
  })

  it.skipIf(options.refusesRunts)('counts a runt and does not deliver it', async () => {
    const bench = await open()
    const { device, pool } = bench.fixture
    await bench.fixture.inject(suiteFrame(1, 13), PLAIN)
    await bench.fixture.inject(suiteFrame(2, 14), PLAIN)
    await bench.poll(1)
    expect(bench.received.map(({ bytes }) => bytes.length)).toEqual([14])
    expect(pool.counters.drops(device.port, DropReason.FrameRunt)).toBe(1)
  })

  it('has nothing to deliver when nothing came', async () => {
    const bench = await open()
    await bench.pollUntil(
      () => bench.received.length > 0,
      Math.min(options.patienceMs ?? 0, NOTHING_MS),
    )
    expect(bench.received).toEqual([])
  })
}

function sending(open: Open): void {
  it('sends frames of every size, in order, byte for byte, and counts them', async () => {
    const bench = await open()
    const { device, pool } = bench.fixture
    const before = pool.counters.value(device.port, Count.TxPackets)
    const beforeBytes = pool.counters.value(device.port, Count.TxBytes)
    const sizes = [14, 15, 60, 61, 64, 65, 1000, 1499, 1513, 1514]
    for (const n of sizes) bench.transmit(suiteFrame(n, n))
    device.flush()
    const sent = await bench.sent(sizes.length)
    expect(sent.map(({ bytes }) => Buffer.from(bytes).toString('hex'))).toEqual(
      sizes.map((n) => Buffer.from(suiteFrame(n, n)).toString('hex')),
    )
    const total = sizes.reduce((sum, n) => sum + n, 0)
    expect(pool.counters.value(device.port, Count.TxPackets) - before).toBe(sizes.length)
    expect(pool.counters.value(device.port, Count.TxBytes) - beforeBytes).toBe(total)
  })

  it('sends a tagged frame of MTU and tag', async () => {
    const bench = await open()
    bench.transmit(suiteTagged(1, MTU_BYTES + 18))
    bench.fixture.device.flush()
    expect((await bench.sent(1)).map(({ bytes }) => bytes)).toEqual([
      suiteTagged(1, MTU_BYTES + 18),
    ])
  })

  it('refuses a frame above the MTU, and goes on', async () => {
    const bench = await open()
    const { device, pool } = bench.fixture
    const before = pool.counters.dropTotal(DropReason.FrameOversize)
    const beforeTx = pool.counters.value(device.port, Count.TxPackets)
    expect(bench.refusal(suiteTagged(1, MTU_BYTES + 19))).toBe(DropReason.FrameOversize)
    expect(bench.refusal(suiteFrame(2, 60))).toBe(-1)
    bench.transmit(suiteTagged(1, MTU_BYTES + 19))
    bench.transmit(suiteFrame(2, 60))
    device.flush()
    expect((await bench.sent(1)).map(({ bytes }) => bytes)).toEqual([suiteFrame(2, 60)])
    expect(pool.counters.dropTotal(DropReason.FrameOversize)).toBe(before + 1)
    expect(pool.counters.value(device.port, Count.TxPackets)).toBe(beforeTx + 1)
  })

  it('gives every packet back that it was given', async () => {
    const bench = await open()
    const { device, pool } = bench.fixture
    for (let round = 0; round < 20; round++) {
      for (let n = 0; n < 10; n++) bench.transmit(suiteFrame(n, 60 + n))
      device.flush()
      await bench.sent(10)
    }
    device.close()
    expect(pool.counters.value(device.port, Count.TxPackets)).toBe(200)
  })
}

/** An IPv4 + UDP or TCP frame whose checksum is still to be summed, and its facts. */
function partial(protocol: 6 | 17, payloadBytes: number): Uint8Array {
  const l4Bytes = protocol === 6 ? 20 : 8
  const ip = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 9, 9, 1, 10, 9, 9, 2]
  const frame = new Uint8Array(14 + 20 + l4Bytes + payloadBytes)
  frame.set(suiteFrame(1, 12))
  frame.set([0x08, 0x00], 12)
  const total = frame.length - 14
  ip[2] = total >> 8
  ip[3] = total & 0xff
  let sum = 0
  for (let i = 0; i < 20; i += 2) sum += (ip[i]! << 8) | ip[i + 1]!
  sum = (sum & 0xffff) + (sum >> 16)
  ip[10] = (~sum >> 8) & 0xff
  ip[11] = ~sum & 0xff
  frame.set(ip, 14)
  const l4 = 34
  frame.set([0x30, 0x39, 0x00, 0x09], l4)
  if (protocol === 6) frame[l4 + 12] = 0x50
  else frame.set([((total - 20) >> 8) & 0xff, (total - 20) & 0xff], l4 + 4)
  // The pseudo-header's sum, as a sender with checksum offload leaves it.
  let pseudo = protocol + total - 20
  for (let i = 12; i < 20; i += 2) pseudo += (ip[i]! << 8) | ip[i + 1]!
  while (pseudo > 0xffff) pseudo = (pseudo & 0xffff) + (pseudo >> 16)
  frame.set([pseudo >> 8, pseudo & 0xff], l4 + (protocol === 6 ? 16 : 6))
  return frame
}

function offloading(open: Open, asked: Offload): void {
  const csum = (protocol: 6 | 17): FrameFacts => ({
    ...PLAIN,
    csumStart: 34,
    csumOffset: protocol === 6 ? 16 : 6,
  })
  const cases: { what: string; frame: Uint8Array; facts: FrameFacts }[] = []
  if (asked.csum)
    cases.push({ what: 'a partial checksum', frame: partial(17, 500), facts: csum(17) })
  if (asked.tso) {
    const facts = { ...csum(6), gsoType: GsoType.TcpV4, gsoSize: 1460 }
    cases.push({ what: 'a TCP super-frame', frame: partial(6, 40_000), facts })
  }
  if (asked.uso) {
    const facts = { ...csum(17), gsoType: GsoType.Udp, gsoSize: 1000 }
    cases.push({ what: 'a UDP super-frame', frame: partial(17, 8000), facts })
  }

  it('offers what was asked for', async () => {
    const bench = await open()
    expect(bench.fixture.device.offload).toEqual(asked)
  })

  for (const { what, frame, facts } of cases) {
    it(`sends ${what} verbatim`, async () => {
      const bench = await open()
      bench.transmit(frame, facts)
      bench.fixture.device.flush()
      const sent = (await bench.sent(1)).filter(({ bytes }) => bytes.length === frame.length)
      expect(sent.map(({ bytes }) => bytes)).toEqual([frame])
      if (sent[0]?.facts !== undefined) expect(sent[0].facts).toEqual(facts)
    })

    it(`receives ${what} verbatim`, async () => {
      const bench = await open()
      const all: { bytes: Uint8Array; facts: FrameFacts }[] = []
      const { pool, device } = bench.fixture
      device.output = (packet) => {
        const bytes = pool.mem.slice(packet.head, packet.head + packet.len)
        if (bytes[12] === 0x08 && bytes[13] === 0) all.push({ bytes, facts: factsOf(packet) })
        pool.free(packet)
      }
      await bench.fixture.inject(frame, facts)
      await bench.pollUntil(() => all.length > 0)
      expect(all).toEqual([{ bytes: frame, facts }])
    })
  }
}

function ending(open: Open): void {
  it('drops what is transmitted after close, and closes twice', async () => {
    const bench = await open()
    const { device, pool } = bench.fixture
    const before = pool.counters.dropTotal(DropReason.DeviceDown)
    bench.transmit(suiteFrame(1, 60))
    device.flush()
    device.close()
    device.close()
    bench.transmit(suiteFrame(2, 60))
    device.flush()
    expect(pool.counters.dropTotal(DropReason.DeviceDown)).toBe(before + 1)
  })

  it('frees what was received and not polled', async () => {
    const bench = await open()
    for (let n = 0; n < 5; n++) await bench.fixture.inject(suiteFrame(n, 60), PLAIN)
    bench.fixture.device.close()
    expect(bench.fixture.device.poll(64)).toBe(0)
    expect(bench.received).toEqual([])
  })

  it('holds a port of the counters, and gives it back', async () => {
    const bench = await open()
    const { device, pool } = bench.fixture
    expect(device.port).toBeGreaterThan(0)
    device.close()
    const next = pool.counters.acquirePort()
    expect(next).toBeLessThanOrEqual(device.port)
    pool.counters.releasePort(next)
  })
}
