/**
 * LZW as memberlist compresses: GIF's variant, least significant bit first, octets as literals.
 *
 * ```text
 *   0-255 literals   256 clear   257 end   258... strings, each the one before it and one octet
 * ```
 *
 * Codes have 9 bits at first and one more whenever the table's next code needs it, up to 12. When
 * code 4095 has been given, the encoder clears the table; the decoder keeps a full table and
 * learns nothing more until it is told to clear.
 *
 * A few octets can stand for megabytes: {@link decompress} stops at a limit that its caller sets.
 *
 * Every datagram comes through here, and the tables are larger than it: there is one encoder and
 * one decoder, and each call runs to its end before the next.
 */
const CLEAR = 256
const END = 257
const LITERAL_BITS = 8
const CODE_BITS_MAX = 12
const CODES = 1 << CODE_BITS_MAX

/** Output that is kept for the next message; a larger one goes when it is done. */
const KEPT_BYTES = 65_536
/** Twice the codes, so that a place is found soon; a power of two. */
const SLOT_BITS = 13
const SLOTS = 1 << SLOT_BITS
/** 2³² by the golden ratio: spreads neighbours. */
const SPREAD = 0x9e37_79b1

class Decoder {
  #in = new BitReader(new Uint8Array(0))
  #bytesMax = 0
  readonly #prefix = new Uint16Array(CODES)
  readonly #suffix = new Uint8Array(CODES)
  /** A string is written back to front. */
  readonly #string = new Uint8Array(CODES)
  #out = new Uint8Array(KEPT_BYTES)
  #bytes = 0
  #bits = LITERAL_BITS + 1
  /** The code that the next one defines. */
  #next = END
  #previous = -1

  run(mem: Uint8Array, bytesMax: number): Uint8Array | undefined {
    this.#in = new BitReader(mem)
    this.#bytesMax = bytesMax
    this.#bytes = 0
    this.#clear()
    const isWhole = this.#readAll()
    const out = this.#out
    if (out.length > KEPT_BYTES) this.#out = new Uint8Array(KEPT_BYTES)
    return isWhole ? out.slice(0, this.#bytes) : undefined
  }

  #readAll(): boolean {
    for (;;) {
      const code = this.#in.read(this.#bits)
      if (code === END) return true
      if (code === CLEAR) this.#clear()
      else if (code < 0 || !this.#take(code)) return false
    }
  }

  /** What the tables hold beyond `next` is of earlier messages, and never looked at. */
  #clear(): void {
    this.#bits = LITERAL_BITS + 1
    this.#next = END
    this.#previous = -1
  }

  /** Write what the code stands for, and learn. False: there is no such code, or no room. */
  #take(code: number): boolean {
    if (code > this.#next) return false
    const isNew = code === this.#next && this.#previous >= 0
    let at = CODES
    // A code that is defined by itself: the string before it, and that string's first octet.
    let rest = code
    if (isNew) {
      rest = this.#previous
      at--
    }
    while (rest > END) {
      this.#string[--at] = this.#suffix[rest]!
      rest = this.#prefix[rest]!
    }
    this.#string[--at] = rest
    if (isNew) this.#string[CODES - 1] = rest
    if (!this.#write(at)) return false
    this.#learn(code, rest)
    return true
  }

  #learn(code: number, first: number): void {
    if (this.#previous >= 0) {
      this.#prefix[this.#next] = this.#previous
      this.#suffix[this.#next] = first
    }
    this.#previous = code
    this.#next++
    if (this.#next < 1 << this.#bits) return
    if (this.#bits < CODE_BITS_MAX) {
      this.#bits++
      return
    }
    // Full: all codes are known, and nothing is learned any more.
    this.#previous = -1
    this.#next--
  }

  #write(from: number): boolean {
    const bytes = CODES - from
    if (this.#bytes + bytes > this.#bytesMax) return false
    if (this.#bytes + bytes > this.#out.length) {
      const out = new Uint8Array(2 * (this.#bytes + bytes))
      out.set(this.#out)
      this.#out = out
    }
    for (let at = from; at < CODES; at++) this.#out[this.#bytes++] = this.#string[at]!
    return true
  }
}

class BitReader {
  readonly #mem: Uint8Array
  #at = 0
  #held = 0
  #heldBits = 0

  constructor(mem: Uint8Array) {
    this.#mem = mem
  }

  /** -1 at the end. */
  read(bits: number): number {
    while (this.#heldBits < bits) {
      const octet = this.#mem[this.#at++]
      if (octet === undefined) return -1
      this.#held |= octet << this.#heldBits
      this.#heldBits += 8
    }
    const code = this.#held & ((1 << bits) - 1)
    this.#held >>>= bits
    this.#heldBits -= bits
    return code
  }
}

/** Codes that were given, each by the code of the string before its last octet, and that octet. */
class CodeTable {
  /** 20 bits of what it stands for, 12 of the code; 0: empty. */
  readonly #slots = new Uint32Array(SLOTS)

  clear(): void {
    this.#slots.fill(0)
  }

  /** -1: there is none. */
  get(key: number): number {
    const slot = this.#slots[this.#find(key)]!
    return slot === 0 ? -1 : slot & (CODES - 1)
  }

  /** Precondition: it is not there. */
  set(key: number, code: number): void {
    this.#slots[this.#find(key)] = (key << CODE_BITS_MAX) | code
  }

  #find(key: number): number {
    let at = Math.imul(key, SPREAD) >>> (32 - SLOT_BITS)
    for (;;) {
      const slot = this.#slots[at]!
      if (slot === 0 || slot >>> CODE_BITS_MAX === key) return at
      at = (at + 1) & (SLOTS - 1)
    }
  }
}

class Encoder {
  readonly #out = new BitWriter()
  readonly #codes = new CodeTable()
  #bits = LITERAL_BITS + 1
  #last = END

  run(mem: Uint8Array): Uint8Array {
    const out = this.#out
    out.begin(mem.length)
    this.#clear()
    out.write(CLEAR, this.#bits)
    let code = -1
    for (let at = 0; at < mem.length; at++) {
      const octet = mem[at]!
      const key = (code << 8) | octet
      const known = code < 0 ? octet : this.#codes.get(key)
      if (known >= 0) {
        code = known
        continue
      }
      out.write(code, this.#bits)
      if (this.#advance()) this.#codes.set(key, this.#last)
      code = octet
    }
    if (code >= 0) {
      out.write(code, this.#bits)
      this.#advance()
    }
    out.write(END, this.#bits)
    return out.end()
  }

  #clear(): void {
    this.#bits = LITERAL_BITS + 1
    this.#last = END
    this.#codes.clear()
  }

  /** After each code that is written; true: it made a new code, which may be given. */
  #advance(): boolean {
    this.#last++
    if (this.#last === 1 << this.#bits) this.#bits++
    if (this.#last < CODES - 1) return true
    this.#out.write(CLEAR, CODE_BITS_MAX)
    this.#clear()
    return false
  }
}

class BitWriter {
  #mem = new Uint8Array(KEPT_BYTES)
  #at = 0
  #held = 0
  #heldBits = 0

  /** Room for a message of so many octets. */
  begin(bytes: number): void {
    // 12 bits an octet at worst, the clearing codes and the end.
    const room = 2 * bytes + 16
    if (room > this.#mem.length || this.#mem.length > KEPT_BYTES) {
      this.#mem = new Uint8Array(Math.max(room, KEPT_BYTES))
    }
    this.#at = 0
    this.#held = 0
    this.#heldBits = 0
  }

  write(code: number, bits: number): void {
    this.#held |= code << this.#heldBits
    this.#heldBits += bits
    while (this.#heldBits >= 8) {
      this.#mem[this.#at++] = this.#held
      this.#held >>>= 8
      this.#heldBits -= 8
    }
  }

  end(): Uint8Array {
    if (this.#heldBits > 0) this.#mem[this.#at++] = this.#held
    return this.#mem.slice(0, this.#at)
  }
}

const decoder = new Decoder()
const encoder = new Encoder()

/** The octets, or undefined if they are damaged, unfinished, or more than `bytesMax`. */
export function decompress(mem: Uint8Array, bytesMax: number): Uint8Array | undefined {
  return decoder.run(mem, bytesMax)
}

export function compress(mem: Uint8Array): Uint8Array {
  return encoder.run(mem)
}
