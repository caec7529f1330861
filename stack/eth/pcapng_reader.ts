/**
 * Capture files: the reader of pcapng (draft-ietf-opsawg-pcapng).
 *
 * Bytes are pushed as they come and frames are asked for, so that a file and a live pipe are read
 * the same way. Both byte orders, several sections, enhanced and simple packets, any timestamp
 * resolution; blocks and options that are not known are passed over.
 *
 * A file is input from outside: every length is checked against the block it is in, a block is at
 * most {@link BLOCK_MAX_BYTES}, and nothing throws. After the first fault `malformed` says what is
 * wrong, and no more frames come.
 */
import { BlockType, BYTE_ORDER_MAGIC, DIRECTION_CODES, type Direction, Option } from './pcapng.ts'

export interface CapturedInterface {
  readonly name: string
  readonly linkType: number
}

export interface CapturedFrame {
  /** Number of the interface in its section. */
  readonly interfaceId: number
  readonly interface: CapturedInterface
  /** Microseconds since 1970; 0 where the file has none. */
  readonly timeUs: number
  readonly direction: Direction | undefined
  readonly comment: string | undefined
  /** What was kept of the frame; a view of the reader's memory that stays valid. */
  readonly bytes: Uint8Array
  /** Octets of the frame on the wire. */
  readonly originalBytes: number
}

/** Room for a super-frame and its options, many times over. */
export const BLOCK_MAX_BYTES: number = 1 << 20
const BLOCK_MIN_BYTES = 12
const TEXT = new TextDecoder()

interface Source extends CapturedInterface {
  readonly snapBytes: number
  readonly ticksPerUs: number
  readonly offsetUs: number
}

/** One option of a block: the value is a view. */
interface OptionValue {
  readonly code: number
  readonly value: Uint8Array
}

export class PcapngReader {
  /** What is wrong with the file, or undefined as long as nothing is. */
  malformed: string | undefined = undefined
  #memory: Uint8Array = new Uint8Array(0)
  #view: DataView = new DataView(this.#memory.buffer)
  #at = 0
  #little = true
  #started = false
  #interfaces: Source[] = []

  /** More of the file. The bytes are copied. */
  push(bytes: Uint8Array): void {
    const rest = this.#memory.subarray(this.#at)
    const memory = new Uint8Array(rest.length + bytes.length)
    memory.set(rest)
    memory.set(bytes, rest.length)
    this.#memory = memory
    this.#view = new DataView(memory.buffer)
    this.#at = 0
  }

  /** The next frame, or undefined if there is no whole one (yet). */
  next(): CapturedFrame | undefined {
    while (this.malformed === undefined) {
      const total = this.#blockBytes()
      if (total === undefined) return undefined
      const at = this.#at
      const type = this.#u32(at)
      this.#at += total
      const frame = this.#block(type, at + 8, at + total - 4)
      if (frame !== undefined) return frame
    }
    return undefined
  }

  /** Octets that were pushed and are not a whole block: 0 at the end of a whole file. */
  get pending(): number {
    return this.#memory.length - this.#at
  }

  #u16(at: number): number {
    return this.#view.getUint16(at, this.#little)
  }

  #u32(at: number): number {
    return this.#view.getUint32(at, this.#little)
  }

  #fail(why: string): undefined {
    this.malformed = why
    return undefined
  }

  /** Size of the block at the cursor, once all of it is there; checks both length fields. */
  #blockBytes(): number | undefined {
    const left = this.pending
    if (left < BLOCK_MIN_BYTES) return undefined
    // The type of a section header reads the same in both orders, so it can be asked first.
    if (this.#u32(this.#at) === BlockType.Section) {
      const magic = this.#view.getUint32(this.#at + 8, true)
      this.#little = magic === BYTE_ORDER_MAGIC
      if (!this.#little && this.#u32(this.#at + 8) !== BYTE_ORDER_MAGIC) {
        return this.#fail('the section header has no byte-order magic')
      }
      this.#started = true
    } else if (!this.#started) return this.#fail('not a pcapng file: no section header')
    const total = this.#u32(this.#at + 4)
    if (total < BLOCK_MIN_BYTES || total % 4 !== 0 || total > BLOCK_MAX_BYTES) {
      return this.#fail(`a block of ${total} octets`)
    }
    if (total > left) return undefined
    if (this.#u32(this.#at + total - 4) !== total) {
      return this.#fail('the two lengths of a block differ')
    }
    return total
  }

  /** Precondition: `at` to `end` is the body of a whole block. */
  #block(type: number, at: number, end: number): CapturedFrame | undefined {
    if (type === BlockType.Section) {
      if (end - at < 16) return this.#fail('a short section header')
      if (this.#u16(at + 4) !== 1) return this.#fail(`pcapng version ${this.#u16(at + 4)}`)
      this.#interfaces = []
    } else if (type === BlockType.Interface) this.#interface(at, end)
    else if (type === BlockType.EnhancedPacket) return this.#enhanced(at, end)
    else if (type === BlockType.SimplePacket) return this.#simple(at, end)
    return undefined
  }

  #interface(at: number, end: number): void {
    if (end - at < 8) return this.#fail('a short interface description')
    let name = ''
    let ticksPerUs = 1
    let offsetUs = 0
    for (const { code, value } of this.#options(at + 8, end)) {
      if (code === Option.InterfaceName) name = TEXT.decode(value)
      else if (code === Option.TimeResolution && value.length === 1) {
        ticksPerUs = ticks(value[0]!) / 1_000_000
      } else if (code === Option.TimeOffset && value.length === 8) {
        const seconds = new DataView(value.buffer, value.byteOffset, 8)
        offsetUs = Number(seconds.getBigInt64(0, this.#little)) * 1_000_000
      }
    }
    const linkType = this.#u16(at)
    const snapBytes = this.#u32(at + 4)
    this.#interfaces.push({ name, linkType, snapBytes, ticksPerUs, offsetUs })
  }

  #enhanced(at: number, end: number): CapturedFrame | undefined {
    if (end - at < 20) return this.#fail('a short packet block')
    const interfaceId = this.#u32(at)
    const source = this.#interfaces[interfaceId]
    if (source === undefined)
      return this.#fail(`a packet of interface ${interfaceId}, not described`)
    const kept = this.#u32(at + 12)
    const options = at + 20 + ((kept + 3) & ~3)
    if (kept > end - at - 20) return this.#fail(`a packet of ${kept} octets, longer than its block`)
    let direction: Direction | undefined
    let comment: string | undefined
    for (const { code, value } of this.#options(options, end)) {
      if (code === Option.Comment) comment ??= TEXT.decode(value)
      else if (code === Option.PacketFlags && value.length === 4) {
        direction = directionOf(value[this.#little ? 0 : 3]!)
      }
    }
    const stamp = this.#u32(at + 4) * 0x1_0000_0000 + this.#u32(at + 8)
    return {
      interfaceId,
      interface: source,
      timeUs: Math.floor(stamp / source.ticksPerUs) + source.offsetUs,
      direction,
      comment,
      bytes: this.#memory.subarray(at + 20, at + 20 + kept),
      originalBytes: this.#u32(at + 16),
    }
  }

  /** A simple packet is of the first interface, without time or options (§4.4). */
  #simple(at: number, end: number): CapturedFrame | undefined {
    const source = this.#interfaces[0]
    if (end - at < 4 || source === undefined) return this.#fail('a simple packet out of place')
    const originalBytes = this.#u32(at)
    const kept = source.snapBytes === 0 ? originalBytes : Math.min(originalBytes, source.snapBytes)
    if (kept > end - at - 4) return this.#fail(`a packet of ${kept} octets, longer than its block`)
    const bytes = this.#memory.subarray(at + 4, at + 4 + kept)
    const unknown = { timeUs: 0, direction: undefined, comment: undefined }
    return { interfaceId: 0, interface: source, ...unknown, bytes, originalBytes }
  }

  /** The options up to the end mark; a fault ends the list and is kept in `malformed`. */
  #options(at: number, end: number): OptionValue[] {
    const list: OptionValue[] = []
    while (end - at >= 4) {
      const code = this.#u16(at)
      const bytes = this.#u16(at + 2)
      if (code === Option.End) break
      if (bytes > end - at - 4) {
        this.#fail('an option longer than its block')
        break
      }
      list.push({ code, value: this.#memory.subarray(at + 4, at + 4 + bytes) })
      at += 4 + ((bytes + 3) & ~3)
    }
    return list
  }
}

/** Ticks a second of an if_tsresol octet (§4.2): a negative power of two, or of ten. */
function ticks(resolution: number): number {
  const power = resolution & 0x7f
  return resolution > 0x7f ? 2 ** power : 10 ** power
}

function directionOf(flags: number): Direction | undefined {
  if ((flags & 3) === DIRECTION_CODES.in) return 'in'
  return (flags & 3) === DIRECTION_CODES.out ? 'out' : undefined
}
