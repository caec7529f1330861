/**
 * Capture files: the writer of pcapng (draft-ietf-opsawg-pcapng).
 *
 * ```text
 *   block:  | type | total length | body, padded to 4 | total length |
 *   file:   Section Header, an Interface Description per device, and Enhanced Packets
 * ```
 *
 * One little-endian section, timestamps in microseconds, interfaces named as the devices are, and
 * each packet marked as coming in or going out (epb_flags) as seen from the node: `in` came from
 * the sandbox. Interfaces may be added while packets are written.
 *
 * Every block is a buffer of its own, so that a sink may keep it: captures are no hot path.
 */
import { StackError } from '../errors.ts'

export const BlockType = {
  Section: 0x0a0d_0d0a,
  Interface: 1,
  SimplePacket: 3,
  EnhancedPacket: 6,
} as const
export const BYTE_ORDER_MAGIC = 0x1a2b_3c4d
export const LINKTYPE_ETHERNET = 1
/** Codes of options; they are shared out again in each kind of block (§3.5, §4). */
export const Option = {
  End: 0,
  Comment: 1,
  Application: 4,
  InterfaceName: 2,
  TimeResolution: 9,
  TimeOffset: 14,
  PacketFlags: 2,
} as const
const MICROSECONDS = 6

export type Direction = 'in' | 'out'
/** Codes of a packet's direction in the two low bits of epb_flags (§4.3.1). */
export const DIRECTION_CODES: { readonly [D in Direction]: number } = { in: 1, out: 2 }

export interface PcapngWriterOptions {
  /** Receives whole blocks, in order; the bytes are its to keep. */
  readonly write: (bytes: Uint8Array) => void
  /** Octets kept of each packet; left out: all. */
  readonly snapBytes?: number
}

/** An option's length is 16 bits. */
const OPTION_MAX_BYTES = 0xffff

const TEXT = new TextEncoder()

export class PcapngWriter {
  readonly #write: (bytes: Uint8Array) => void
  readonly #snapBytes: number
  #interfaces = 0

  /** Writes the section header at once. */
  constructor({ write, snapBytes }: PcapngWriterOptions) {
    this.#write = write
    this.#snapBytes = snapBytes ?? 0x7fff_ffff
    const section = new Block(BlockType.Section)
    section.put32(BYTE_ORDER_MAGIC)
    section.put16(1) // version 1.0
    section.put16(0)
    section.put32(0xffff_ffff) // length of the section: not known (64 bits of ones)
    section.put32(0xffff_ffff)
    section.option(Option.Application, TEXT.encode('tapline'))
    write(section.end())
  }

  /** A device, by the name that Wireshark shows. Returns its number for {@link packet}. */
  addInterface(name: string): number {
    const block = new Block(BlockType.Interface)
    block.put16(LINKTYPE_ETHERNET)
    block.put16(0)
    block.put32(this.#snapBytes === 0x7fff_ffff ? 0 : this.#snapBytes)
    block.option(Option.InterfaceName, TEXT.encode(name))
    block.option(Option.TimeResolution, Uint8Array.of(MICROSECONDS))
    this.#write(block.end())
    return this.#interfaces++
  }

  /**
   * A frame of `bytes` octets at `mem[at]`, seen at `timeUs` (microseconds since 1970).
   *
   * @throws StackError `bad-argument` if there is no such interface.
   */
  packet(
    iface: number,
    mem: Uint8Array,
    at: number,
    bytes: number,
    timeUs: number,
    direction: Direction,
    comment?: string,
  ): void {
    if (iface < 0 || iface >= this.#interfaces) {
      throw new StackError('bad-argument', `there is no interface ${iface} in this capture`)
    }
    const kept = Math.min(bytes, this.#snapBytes)
    const block = new Block(BlockType.EnhancedPacket)
    block.put32(iface)
    block.put32(Math.floor(timeUs / 0x1_0000_0000))
    block.put32(Math.floor(timeUs) % 0x1_0000_0000)
    block.put32(kept)
    block.put32(bytes)
    block.bytes(mem.subarray(at, at + kept))
    block.option(Option.PacketFlags, Uint8Array.of(DIRECTION_CODES[direction], 0, 0, 0))
    if (comment !== undefined)
      block.option(Option.Comment, TEXT.encode(comment).subarray(0, OPTION_MAX_BYTES))
    this.#write(block.end())
  }
}

/** One block while it is written. */
class Block {
  #memory = new Uint8Array(256)
  #view = new DataView(this.#memory.buffer)
  #bytes = 8
  #options = false

  constructor(type: number) {
    this.#view.setUint32(0, type, true)
  }

  put16(value: number): void {
    this.#grow(2)
    this.#view.setUint16(this.#bytes, value, true)
    this.#bytes += 2
  }

  put32(value: number): void {
    this.#grow(4)
    this.#view.setUint32(this.#bytes, value, true)
    this.#bytes += 4
  }

  /** Octets, padded with zeros to a multiple of four. */
  bytes(source: Uint8Array): void {
    const padded = (source.length + 3) & ~3
    this.#grow(padded)
    this.#memory.set(source, this.#bytes)
    this.#bytes += padded
  }

  option(code: number, value: Uint8Array): void {
    this.put16(code)
    this.put16(value.length)
    this.bytes(value)
    this.#options = true
  }

  /** The finished block. */
  end(): Uint8Array {
    if (this.#options) this.put32(Option.End)
    const total = this.#bytes + 4
    this.put32(total)
    this.#view.setUint32(4, total, true)
    return this.#memory.subarray(0, total)
  }

  #grow(bytes: number): void {
    if (this.#bytes + bytes <= this.#memory.length) return
    const memory = new Uint8Array(2 * (this.#bytes + bytes))
    memory.set(this.#memory)
    this.#memory = memory
    this.#view = new DataView(memory.buffer)
  }
}
