/**
 * Writing an answer in place: behind a header and a question that are there already, record by
 * record, names compressed (RFC 1035 §4.1.4), never beyond a limit.
 *
 * ```text
 *   begin(mem, at, ...)   header and question are at `at`
 *   add...()              answers, then authority, then additional: in this order
 *   finish()              counts, flags, OPT; how long it is
 * ```
 *
 * Room for the OPT record is kept from the start. A record that does not fit is left out: of the
 * answer or authority section that sets TC, and nothing more is written; additional records are
 * left out in silence (RFC 2181 §9).
 *
 * One writer is used for message after message. Answers about own names allocate nothing.
 */
import { type Address, putAddress } from '../../stack/address.ts'
import { put16, put32, putBytes } from '../../stack/bytes.ts'
import { type Name, nameBytes } from './name.ts'
import type { Query } from './query.ts'
import * as wire from './wire.ts'
import { Class, Flag, Type } from './wire.ts'

/** A pointer to the question's name, which is at a fixed place. */
const QUESTION_POINTER = 0xc000 | wire.HEADER_BYTES
const POINTER = 0xc000
const POINTER_REACH = 0x4000
/** RFC 8482 §4.2. */
const MINIMAL_ANY = Buffer.from('\x07RFC8482\x00', 'latin1')
const STRING_MAX = 255

type Section = 'answer' | 'authority' | 'additional'

export interface Ending {
  readonly rcode: number
  readonly authoritative: boolean
  /** A resolver stands behind us for this client. */
  readonly recursion: boolean
}

export class AnswerWriter {
  #mem: Uint8Array = new Uint8Array(0)
  #message = 0
  #at = 0
  #limit = 0
  #query: Query | undefined
  #section: Section = 'answer'
  #answers = 0
  #authorities = 0
  #additionals = 0
  #truncated = false
  /** Places of names in this message, by name. */
  readonly #places = new Map<Name, number>()

  /**
   * The message at `at` has the query's header and question. `limitBytes`: of the whole answer.
   * Precondition: header, question and OPT fit.
   */
  begin(mem: Uint8Array, at: number, query: Query, limitBytes: number): void {
    this.#mem = mem
    this.#message = at
    this.#query = query
    this.#at = at + query.headBytes
    this.#limit = at + limitBytes - (query.edns ? wire.OPT_BYTES : 0)
    this.#section = 'answer'
    this.#answers = 0
    this.#authorities = 0
    this.#additionals = 0
    this.#truncated = false
    if (this.#places.size > 0) this.#places.clear()
  }

  get truncated(): boolean {
    return this.#truncated
  }

  /** What follows belongs to this section. */
  section(section: Section): void {
    this.#section = section
  }

  /** An address of the name that was asked for, or of `owner`. */
  addAddress(address: Address, ttlS: number, owner?: Name): boolean {
    const four = address.family === 4
    const bytes = four ? 4 : 16
    const start = this.#open(owner, four ? Type.A : Type.Aaaa, ttlS)
    if (start < 0 || !this.#fits(bytes, start)) return false
    putAddress(this.#mem, this.#at, address)
    return this.#close(this.#at, bytes)
  }

  /** A record whose data is a name: PTR, CNAME. */
  addName(type: number, target: Name, ttlS: number, owner?: Name): boolean {
    const start = this.#open(owner, type, ttlS)
    if (start < 0 || !this.#fits(nameBytes(target), start)) return false
    const data = this.#at
    this.#at = this.#putName(data, target, true)
    put16(this.#mem, data - 2, this.#at - data)
    return this.#count()
  }

  /** RFC 2782: the target is not compressed. */
  addSrv(ttlS: number, { priority, weight, port, target }: SrvData): boolean {
    const start = this.#open(undefined, Type.Srv, ttlS)
    if (start < 0 || !this.#fits(6 + nameBytes(target), start)) return false
    const data = this.#at
    put16(this.#mem, data, priority)
    put16(this.#mem, data + 2, weight)
    put16(this.#mem, data + 4, port)
    this.#at = this.#putName(data + 6, target, false)
    put16(this.#mem, data - 2, this.#at - data)
    return this.#count()
  }

  /** One record of several strings; what is longer than a string can be is cut. */
  addTxt(ttlS: number, texts: readonly string[]): boolean {
    const strings = texts.map((text) => Buffer.from(text).subarray(0, STRING_MAX))
    const bytes = strings.reduce((sum, { length }) => sum + length + 1, 0)
    const start = this.#open(undefined, Type.Txt, ttlS)
    if (start < 0 || !this.#fits(bytes, start)) return false
    let at = this.#at
    for (const string of strings) {
      this.#mem[at] = string.length
      putBytes(this.#mem, at + 1, string)
      at += string.length + 1
    }
    return this.#close(this.#at, bytes)
  }

  /** What ANY gets for a name that is there (RFC 8482 §4.2). */
  addMinimalAny(ttlS: number): boolean {
    return this.addRaw(undefined, Type.Hinfo, ttlS, MINIMAL_ANY)
  }

  /** A record with its data as it is. */
  addRaw(owner: Name | undefined, type: number, ttlS: number, data: Uint8Array): boolean {
    const start = this.#open(owner, type, ttlS)
    if (start < 0 || !this.#fits(data.length, start)) return false
    putBytes(this.#mem, this.#at, data)
    return this.#close(this.#at, data.length)
  }

  /** Write what was left open; octets of the message. */
  finish({ rcode, authoritative, recursion }: Ending): number {
    const mem = this.#mem
    const query = this.#query!
    const message = this.#message
    let flags = Flag.Response | (rcode & Flag.Rcode)
    flags |= query.flags & (Flag.Opcode | Flag.RecursionDesired | Flag.CheckingDisabled)
    if (authoritative) flags |= Flag.Authoritative
    if (recursion) flags |= Flag.RecursionAvailable
    if (this.#truncated) flags |= Flag.Truncated
    put16(mem, message, query.id)
    put16(mem, message + wire.FLAGS, flags)
    put16(mem, message + wire.QDCOUNT, query.questionBytes === 0 ? 0 : 1)
    put16(mem, message + wire.ANCOUNT, this.#answers)
    put16(mem, message + wire.NSCOUNT, this.#authorities)
    put16(mem, message + wire.ARCOUNT, this.#additionals + (query.edns ? 1 : 0))
    if (query.edns) {
      wire.putOpt(mem, this.#at, { rcode, dnssecOk: query.dnssecOk })
      this.#at += wire.OPT_BYTES
    }
    return this.#at - message
  }

  /** Name, type, class and TTL; where the record begins, or -1 if it cannot. */
  #open(owner: Name | undefined, type: number, ttlS: number): number {
    if (this.#truncated) return -1
    const start = this.#at
    const bytes = owner === undefined ? 2 : nameBytes(owner)
    if (!this.#fits(bytes + wire.RECORD_BYTES, start)) return -1
    const mem = this.#mem
    let at = start
    if (owner === undefined) {
      put16(mem, at, QUESTION_POINTER)
      at += 2
    } else at = this.#putName(at, owner, true)
    put16(mem, at, type)
    put16(mem, at + 2, Class.In)
    put32(mem, at + wire.TTL, ttlS)
    this.#at = at + wire.RECORD_BYTES
    return start
  }

  #close(data: number, bytes: number): boolean {
    put16(this.#mem, data - 2, bytes)
    this.#at = data + bytes
    return this.#count()
  }

  #count(): boolean {
    if (this.#section === 'answer') this.#answers++
    else if (this.#section === 'authority') this.#authorities++
    else this.#additionals++
    return true
  }

  /** Room for so much more; else the record that began at `start` is taken back. */
  #fits(bytes: number, start: number): boolean {
    if (this.#at + bytes <= this.#limit) return true
    this.#at = start
    for (const [name, at] of this.#places) if (at >= start) this.#places.delete(name)
    if (this.#section !== 'additional') this.#truncated = true
    return false
  }

  /** Write a name, shortened where a suffix of it is there already. Where it ends. */
  #putName(at: number, name: Name, compress: boolean): number {
    const mem = this.#mem
    let rest = name
    while (rest !== '') {
      const place = compress ? this.#placeOf(rest) : -1
      if (place >= 0) {
        put16(mem, at, POINTER | (place - this.#message))
        return at + 2
      }
      if (at - this.#message < POINTER_REACH && !this.#places.has(rest)) this.#places.set(rest, at)
      const bytes = rest.charCodeAt(0) + 1
      for (let i = 0; i < bytes; i++) mem[at + i] = rest.charCodeAt(i)
      at += bytes
      rest = rest.slice(bytes) as Name
    }
    mem[at] = 0
    return at + 1
  }

  #placeOf(name: Name): number {
    const known = this.#places.get(name)
    if (known !== undefined) return known
    const asked = this.#query!.name
    if (asked.length >= name.length && asked.endsWith(name)) {
      const skipped = asked.length - name.length
      for (let at = 0; at <= skipped; at += asked.charCodeAt(at) + 1) {
        if (at === skipped) return this.#message + wire.HEADER_BYTES + at
      }
    }
    return -1
  }
}

export interface SrvData {
  readonly priority: number
  readonly weight: number
  readonly port: number
  readonly target: Name
}
