/** The capture files that we write, as tshark reads them; and files from elsewhere, as we do. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { PcapngWriter } from '../../stack/eth/pcapng.ts'
import { PcapngDevice } from '../../stack/eth/pcapng_device.ts'
import { BLOCK_MAX_BYTES, type CapturedFrame, PcapngReader } from '../../stack/eth/pcapng_reader.ts'
import { Pool } from '../../stack/packet.ts'
import { suiteFrame } from './device.ts'

function sample(): Uint8Array {
  const parts: Uint8Array[] = []
  const writer = new PcapngWriter({ write: (bytes) => parts.push(bytes) })
  const web = writer.addInterface('web1/eth0')
  const timeUs = 1_700_000_000_123_456
  writer.packet(web, suiteFrame(1, 61), 0, 61, timeUs, 'in')
  const db = writer.addInterface('db/eth0')
  writer.packet(db, suiteFrame(2, 1514), 0, 1514, timeUs + 1, 'out', 'flooded')
  writer.packet(web, suiteFrame(3, 100), 20, 64, timeUs + 2_000_000, 'out')
  return Buffer.concat(parts)
}

function all(bytes: Uint8Array): { frames: CapturedFrame[]; reader: PcapngReader } {
  const reader = new PcapngReader()
  reader.push(bytes)
  const frames: CapturedFrame[] = []
  for (let f = reader.next(); f !== undefined; f = reader.next()) frames.push(f)
  return { frames, reader }
}

/** Blocks by hand, in either byte order. */
function block(little: boolean, type: number, ...words: (number | Uint8Array)[]): Uint8Array {
  const body = Buffer.concat(
    words.map((word) => {
      if (typeof word !== 'number') return word
      const four = Buffer.alloc(4)
      if (little) four.writeUInt32LE(word)
      else four.writeUInt32BE(word)
      return four
    }),
  )
  const out = Buffer.alloc(body.length + 12)
  const put = (value: number, at: number) =>
    little ? out.writeUInt32LE(value, at) : out.writeUInt32BE(value, at)
  put(type, 0)
  put(out.length, 4)
  out.set(body, 8)
  put(out.length, out.length - 4)
  return out
}

const SECTION = 0x0a0d0d0a
const section = (little: boolean) =>
  block(little, SECTION, 0x1a2b3c4d, little ? 1 : 0x10000, 0xffffffff, 0xffffffff)

const { CI } = process.env
const hasTshark = spawnSync('tshark', ['--version']).status === 0
if (!hasTshark && CI !== 'true') console.warn('tshark: not installed (apt install)')

describe('pcapng writer', () => {
  it.skipIf(!hasTshark && CI !== 'true')('writes what tshark reads', () => {
    const dir = mkdtempSync(join(tmpdir(), 'pcapng-'))
    try {
      const file = join(dir, 'a.pcapng')
      writeFileSync(file, sample())
      const fields = ['frame.time_epoch', 'frame.len', 'frame.cap_len', 'frame.interface_name']
      const more = ['frame.packet_flags_direction', 'frame.comment']
      const args = [...fields, ...more].flatMap((field) => ['-e', field])
      const run = spawnSync('tshark', ['-r', file, '-T', 'fields', '-E', 'separator=|', ...args])
      expect(run.status).toBe(0)
      const lines = run.stdout.toString().trim().split('\n')
      expect(
        lines.map((line) => line.split('|').map((v) => v.replace(/(\.\d{6})000$/, '$1'))),
      ).toEqual([
        ['1700000000.123456', '61', '61', 'web1/eth0', '0x00000001', ''],
        ['1700000000.123457', '1514', '1514', 'db/eth0', '0x00000002', 'flooded'],
        ['1700000002.123456', '64', '64', 'web1/eth0', '0x00000002', ''],
      ])
      expect(execFileSync('tshark', ['-r', file, '-V', '-c', '1']).toString()).toContain('0x88b5')
    } finally {
      rmSync(dir, { recursive: true })
    }
  })

  it('keeps at most the snapshot length, and the true length', () => {
    const parts: Uint8Array[] = []
    const writer = new PcapngWriter({ write: (bytes) => parts.push(bytes), snapBytes: 40 })
    writer.packet(writer.addInterface('a'), suiteFrame(1, 100), 0, 100, 5, 'in')
    const { frames } = all(Buffer.concat(parts))
    expect(frames.map(({ bytes, originalBytes }) => [bytes, originalBytes])).toEqual([
      [suiteFrame(1, 100).subarray(0, 40), 100],
    ])
    expect(() => writer.packet(1, suiteFrame(1, 20), 0, 20, 5, 'in')).toThrow(/no interface 1/)
  })
})

describe('pcapng reader', () => {
  it('reads back what the writer wrote, however it is cut', () => {
    const file = sample()
    const whole = all(file)
    expect(whole.reader.malformed).toBeUndefined()
    expect(whole.reader.pending).toBe(0)
    expect(
      whole.frames.map((f) => [f.interface.name, f.timeUs, f.direction, f.comment, f.bytes]),
    ).toEqual([
      ['web1/eth0', 1_700_000_000_123_456, 'in', undefined, suiteFrame(1, 61)],
      ['db/eth0', 1_700_000_000_123_457, 'out', 'flooded', suiteFrame(2, 1514)],
      ['web1/eth0', 1_700_000_002_123_456, 'out', undefined, suiteFrame(3, 100).subarray(20, 84)],
    ])
    const reader = new PcapngReader()
    const frames: CapturedFrame[] = []
    for (let at = 0; at < file.length; at += 7) {
      reader.push(file.subarray(at, at + 7))
      for (let f = reader.next(); f !== undefined; f = reader.next()) frames.push(f)
    }
    expect(frames.map(({ bytes }) => bytes)).toEqual(whole.frames.map(({ bytes }) => bytes))
  })

  for (const little of [true, false]) {
    it(`reads ${little ? 'little' : 'big'}-endian files, other resolutions, unknown blocks`, () => {
      const u16s = (a: number, b: number) => (little ? (b << 16) | a : (a << 16) | b) >>> 0
      const offset = Buffer.alloc(8)
      if (little) offset.writeBigInt64LE(100n)
      else offset.writeBigInt64BE(100n)
      const bytes = Buffer.concat([
        section(little),
        block(little, 0x7777, 1, 2, 3),
        block(little, 1, u16s(1, 0), 0, u16s(9, 1), Uint8Array.of(9, 0, 0, 0), u16s(14, 8), offset),
        // 7,000,000,123 ns; five octets, and an option that nobody knows.
        block(
          little,
          6,
          0,
          1,
          2_705_032_827,
          5,
          60,
          Uint8Array.of(1, 2, 3, 4, 5, 0, 0, 0),
          u16s(99, 1),
          0,
          0,
        ),
        block(little, 3, 3, Uint8Array.of(7, 8, 9, 0)),
        section(little),
        block(little, 1, u16s(113, 0), 0),
        block(little, 3, 2, Uint8Array.of(1, 2, 0, 0)),
      ])
      const { frames, reader } = all(bytes)
      expect(reader.malformed).toBeUndefined()
      expect(
        frames.map((f) => [f.timeUs, [...f.bytes], f.originalBytes, f.interface.linkType]),
      ).toEqual([
        [107_000_000, [1, 2, 3, 4, 5], 60, 1],
        [0, [7, 8, 9], 3, 1],
        [0, [1, 2], 2, 113],
      ])
    })
  }

  it('says what is wrong, and stops', () => {
    const le = (...blocks: Uint8Array[]) => all(Buffer.concat([section(true), ...blocks])).reader
    const ifc = block(true, 1, 1, 0)
    expect(all(Buffer.alloc(64)).reader.malformed).toMatch(/not a pcapng file/)
    expect(all(block(true, SECTION, 0x11111111, 1, 0, 0)).reader.malformed).toMatch(/magic/)
    expect(all(block(true, SECTION, 0x1a2b3c4d, 2, 0, 0)).reader.malformed).toMatch(/version 2/)
    expect(le(block(true, 6, 0, 0, 0, 0, 0)).malformed).toMatch(/interface 0/)
    expect(le(ifc, block(true, 6, 0, 0, 0, 9, 9, 0, 0)).malformed).toMatch(/longer than its block/)
    expect(le(ifc, block(true, 6, 0, 0)).malformed).toMatch(/short packet/)
    expect(le(block(true, 1, 1, 0, 0x00ff_0002)).malformed).toMatch(/option longer/)
    expect(le(block(true, 3, 1)).malformed).toMatch(/simple packet/)
    const huge = Buffer.from(block(true, 5))
    huge.writeUInt32LE(BLOCK_MAX_BYTES + 4, 4)
    expect(le(huge).malformed).toMatch(/block of/)
    const lengths = Buffer.from(block(true, 5, 1))
    lengths.writeUInt32LE(12, 12)
    expect(le(lengths).malformed).toMatch(/two lengths/)
  })

  it('is never thrown by a damaged or cut file', () => {
    const file = sample()
    for (let cut = 0; cut < file.length; cut++)
      expect(all(file.subarray(0, cut)).frames.length).toBeLessThan(4)
    const damage = fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { maxLength: 8 })
    fc.assert(
      fc.property(damage, (changes) => {
        const copy = Uint8Array.from(file)
        for (const [at, value] of changes) copy[at] = value
        expect(all(copy).frames.length).toBeLessThan(10)
      }),
      { numRuns: 2000 },
    )
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void all(bytes)))
  })
})

describe('pcapng device', () => {
  function replay(bytes: Uint8Array): { device: PcapngDevice; lost: string[]; pool: Pool } {
    const pool = new Pool({ smallCount: 8, largeCount: 1, checked: true })
    const source = new PcapngReader()
    source.push(bytes)
    const device = new PcapngDevice({ name: 'p', pool, clock: new VirtualClock(), source })
    const lost: string[] = []
    device.onLost = (why) => lost.push(why)
    device.output = (packet) => pool.free(packet)
    return { device, lost, pool }
  }

  it('replays what came in, passes over the rest, and ends once', () => {
    const { device, lost, pool } = replay(sample())
    expect(device.poll(64)).toBe(1)
    expect(device.skipped).toBe(2)
    expect(lost).toEqual([])
    device.end()
    device.poll(64)
    device.poll(64)
    expect(lost).toEqual(['the capture has ended'])
    device.close()
    expect(pool.leaks()).toEqual([])
  })

  it('says that its file is damaged or cut', () => {
    const cut = replay(sample().subarray(0, 300))
    cut.device.end()
    cut.device.poll(64)
    expect(cut.lost).toEqual(['the capture ends inside a block'])
    const damaged = replay(Buffer.alloc(100))
    damaged.device.poll(64)
    expect(damaged.lost).toEqual(['not a pcapng file: no section header'])
  })
})
