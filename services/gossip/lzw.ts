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
 */
const CLEAR = 256
const END = 257
const LITERAL_BITS = 8
const CODE_BITS_MAX = 12
const CODES = 1 << CODE_BITS_MAX

/** The octets, or undefined if they are damaged, unfinished, or more than `bytesMax`. */
export function decompress(mem: Uint8Array, bytesMax: number): Uint8Array | undefined {
  return new Decoder(mem, bytesMax).run()
}

class Decoder {
  readonly #in: BitReader
  readonly #bytesMax: number
  readonly #prefix = new Uint16Array(CODES)
  readonly #suffix = new Uint8Array(CODES)
  /** A string is written back to front. */
  readonly #string = new Uint8Array(CODES)
  #out = new Uint8Array(1024)
  #bytes = 0
  #bits = LITERAL_BITS + 1
  /** The code that the next one defines. */
  #next = END
  #previous = -1

  constructor(mem: Uint8Array, bytesMax: number) {
    this.#in = new BitReader(mem)
    this.#bytesMax = bytesMax
  }

  run(): Uint8Array | undefined {
    for (;;) {
      const code = this.#in.read(this.#bits)
      if (code === END) return this.#out.slice(0, this.#bytes)
      if (code === CLEAR) {
        this.#bits = LITERAL_BITS + 1
        this.#next = END
        this.#previous = -1
      } else if (code < 0 || !this.#take(code)) {
        return undefined
      }
    }
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
    this.#out.set(this.#string.subarray(from), this.#bytes)
    this.#bytes += bytes
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

export function compress(mem: Uint8Array): Uint8Array {
  const out = new BitWriter(mem.length)
  /** Code of a string, by the code of the string before its last octet, and that octet. */
  const codes = new Map<number, number>()
  let bits = LITERAL_BITS + 1
  let last = END
  out.write(CLEAR, bits)
  let code = -1
  /** After each code that is written; true: it made a new code, which may be given. */
  const advance = (): boolean => {
    last++
    if (last === 1 << bits) bits++
    if (last < CODES - 1) return true
    out.write(CLEAR, CODE_BITS_MAX)
    bits = LITERAL_BITS + 1
    last = END
    codes.clear()
    return false
  }
  for (const octet of mem) {
    if (code < 0) {
      code = octet
      continue
    }
    const key = (code << 8) | octet
    const known = codes.get(key)
    if (known !== undefined) {
      code = known
      continue
    }
    out.write(code, bits)
    if (advance()) codes.set(key, last)
    code = octet
  }
  if (code >= 0) {
    out.write(code, bits)
    advance()
  }
  out.write(END, bits)
  return out.bytes()
}

class BitWriter {
  #mem: Uint8Array
  #at = 0
  #held = 0
  #heldBits = 0

  constructor(bytes: number) {
    // 12 bits an octet at worst, the clearing codes and the end.
    this.#mem = new Uint8Array(2 * bytes + 16)
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

  bytes(): Uint8Array {
    if (this.#heldBits > 0) this.#mem[this.#at++] = this.#held
    this.#heldBits = 0
    return this.#mem.slice(0, this.#at)
  }
}
