/**
 * What a forwarder answers, taken for hostile until it proves to be the answer to what was asked.
 *
 * ```text
 *   id, question octet for octet (0x20), response, opcode ---- else ignored: it may be forged
 *   every record whole, names only pointing back ------------- else refused
 *   answer: the chain of CNAME and DNAME from the name that was asked, and what it leads to;
 *   authority: the SOA of a zone above the end of the chain;  everything else is thrown away
 * ```
 *
 * So nothing about another name ever gets in, whatever a forwarder volunteers (RFC 5452 §6). Names
 * inside data are decompressed, for the types of RFC 1035 and those that came with compression.
 */
import { put16, u16, u32 } from '../../stack/bytes.ts'
import { isWithin, lastName, type Name, readName } from './name.ts'
import * as wire from './wire.ts'
import { Class, Flag, Rcode, Type } from './wire.ts'

export interface Rec {
  readonly owner: Name
  readonly type: number
  readonly ttlS: number
  /** Names in it are not compressed, and lower case. */
  readonly data: Uint8Array
}

export interface Reply {
  readonly rcode: number
  readonly truncated: boolean
  readonly answers: readonly Rec[]
  /** Of a negative answer (RFC 2308 §2). */
  readonly soa: Rec | undefined
}

/** What was asked, as it went out. */
export interface Asked {
  readonly id: number
  readonly name: Name
  readonly type: number
  /** Header and question, in the letters that were sent. */
  readonly message: Uint8Array
}

/** Why a message is no answer: `ignored` may be forged, `refused` came from who was asked. */
export interface NoReply {
  readonly ignored: boolean
  readonly why: string
}

/** More records than any honest answer has. */
const RECORDS_MAX = 1024
const CHAIN_MAX = 16
/** RFC 2181 §8: a TTL with the top bit set is none. */
const TTL_MAX = 0x7fff_ffff
const SOA_NUMBERS_BYTES = 20

export function isReply(result: Reply | NoReply): result is Reply {
  return 'rcode' in result
}

export function readReply(mem: Uint8Array, asked: Asked): Reply | NoReply {
  const end = mem.length
  if (end < wire.HEADER_BYTES) return ignore('shorter than a header')
  if (u16(mem, 0) !== asked.id) return ignore('another identifier')
  const flags = wire.flags(mem, 0)
  if ((flags & Flag.Response) === 0 || (flags & Flag.Opcode) !== 0) return ignore('no response')
  const questionEnd = asked.message.length
  const counted = u16(mem, wire.QDCOUNT)
  const rcode = flags & Flag.Rcode
  if (counted === 0 && (rcode === Rcode.FormErr || rcode === Rcode.NotImp)) {
    return { rcode, truncated: false, answers: [], soa: undefined }
  }
  if (counted !== 1 || end < questionEnd) return ignore('another question')
  for (let i = wire.HEADER_BYTES; i < questionEnd; i++) {
    if (mem[i] !== asked.message[i]) return ignore('another question, or other letters in it')
  }
  if ((flags & Flag.Truncated) !== 0) {
    return { rcode, truncated: true, answers: [], soa: undefined }
  }
  return readSections(mem, asked, rcode)
}

function readSections(mem: Uint8Array, asked: Asked, rcode: number): Reply | NoReply {
  const counts = [wire.ANCOUNT, wire.NSCOUNT, wire.ARCOUNT].map((at) => u16(mem, at))
  if (counts.reduce((sum, count) => sum + count, 0) > RECORDS_MAX) return refuse('too many records')
  const reader = new RecordReader(mem, asked.message.length)
  const sections: Rec[][] = []
  for (const count of counts) {
    const records: Rec[] = []
    for (let i = 0; i < count; i++) {
      const record = reader.next()
      if (record === undefined) return refuse('a record that is not whole')
      if (record !== OTHER) records.push(record)
    }
    sections.push(records)
  }
  const [answers, authority] = sections as [Rec[], Rec[], Rec[]]
  const chain = follow(asked, answers)
  const last = chain.name
  const soa = authority.find(({ type, owner }) => type === Type.Soa && isWithin(last, owner))
  const negative = rcode === Rcode.NxDomain || !chain.found
  return {
    rcode: rcode | (reader.extended << 4),
    truncated: false,
    answers: chain.records,
    soa: negative ? soa : undefined,
  }
}

/** Records that belong to the question, in the order of the message. */
function follow(
  { name, type }: Asked,
  answers: readonly Rec[],
): { readonly records: Rec[]; readonly name: Name; readonly found: boolean } {
  const kept = new Set<Rec>()
  let wanted = name
  let found = false
  for (let step = 0; step < CHAIN_MAX; step++) {
    let next: Name | undefined
    for (const record of answers) {
      const above = record.type === Type.Dname && record.owner !== wanted
      if (above ? !isWithin(wanted, record.owner) : record.owner !== wanted) continue
      const fits = record.type === type || type === Type.Any
      if (fits) found = true
      const leads = record.type === Type.Cname && !fits
      if (!fits && !leads && record.type !== Type.Rrsig && record.type !== Type.Dname) continue
      kept.add(record)
      if (leads) next = nameOf(record)
    }
    if (found || next === undefined) break
    wanted = next
  }
  return { records: answers.filter((record) => kept.has(record)), name: wanted, found }
}

/** The name that is all of a record's data. */
export function nameOf({ data }: Rec): Name {
  return Buffer.from(data.buffer, data.byteOffset, data.length - 1).toString('latin1') as Name
}

/** Seconds that a negative answer may be kept (RFC 2308 §5). */
export function negativeTtlS({ data, ttlS }: Rec): number {
  return Math.min(ttlS, u32(data, data.length - 4))
}

/** A record of another class, or one that says something about the message. */
const OTHER = Symbol('other')

class RecordReader {
  /** Upper bits of the response code, of an OPT record. */
  extended = 0
  readonly #mem: Uint8Array
  #at: number

  constructor(mem: Uint8Array, at: number) {
    this.#mem = mem
    this.#at = at
  }

  /** Undefined: it is not whole. */
  next(): Rec | typeof OTHER | undefined {
    const mem = this.#mem
    const bytes = readName(mem, 0, this.#at, mem.length)
    const fixed = this.#at + bytes
    if (bytes < 0 || fixed + wire.RECORD_BYTES > mem.length) return undefined
    const owner = lastName()
    const type = u16(mem, fixed)
    const from = fixed + wire.RECORD_BYTES
    const to = from + u16(mem, fixed + wire.RDLENGTH)
    if (to > mem.length) return undefined
    this.#at = to
    if (type === Type.Opt) {
      this.extended = wire.ednsExtended(mem, fixed)
      return OTHER
    }
    if (u16(mem, fixed + 2) !== Class.In || type === Type.Tsig) return OTHER
    const data = readData(mem, type, from, to)
    if (data === undefined) return undefined
    const ttl = u32(mem, fixed + wire.TTL)
    return { owner, type, ttlS: ttl > TTL_MAX ? 0 : ttl, data }
  }
}

/** How data begin before their names, and how many names there are. */
const LAYOUTS: Readonly<Record<number, { fixed: number; names: number; after: number }>> = {
  2: { fixed: 0, names: 1, after: 0 },
  5: { fixed: 0, names: 1, after: 0 },
  6: { fixed: 0, names: 2, after: SOA_NUMBERS_BYTES },
  12: { fixed: 0, names: 1, after: 0 },
  15: { fixed: 2, names: 1, after: 0 },
  17: { fixed: 0, names: 2, after: 0 },
  18: { fixed: 2, names: 1, after: 0 },
  21: { fixed: 2, names: 1, after: 0 },
  33: { fixed: 6, names: 1, after: 0 },
  36: { fixed: 2, names: 1, after: 0 },
  39: { fixed: 0, names: 1, after: 0 },
}
const SIZES: Readonly<Record<number, number>> = { [Type.A]: 4, [Type.Aaaa]: 16 }

function readData(mem: Uint8Array, type: number, from: number, to: number): Uint8Array | undefined {
  const size = SIZES[type]
  if (size !== undefined && to - from !== size) return undefined
  const layout = LAYOUTS[type]
  if (layout === undefined) return mem.slice(from, to)
  let at = from + layout.fixed
  if (at > to) return undefined
  const parts = [Buffer.from(mem.slice(from, at))]
  for (let i = 0; i < layout.names; i++) {
    const bytes = readName(mem, 0, at, to)
    if (bytes < 0) return undefined
    at += bytes
    parts.push(Buffer.from(`${lastName()}\0`, 'latin1'))
  }
  if (at + layout.after !== to) return undefined
  parts.push(Buffer.from(mem.slice(at, to)))
  return Buffer.concat(parts)
}

function ignore(why: string): NoReply {
  return { ignored: true, why }
}

function refuse(why: string): NoReply {
  return { ignored: false, why }
}

export interface Asking {
  readonly id: number
  readonly name: Name
  readonly type: number
  readonly edns: boolean
  readonly dnssecOk: boolean
  readonly checkingDisabled: boolean
  /** Chooses the case of the letters of a name, bit by bit; undefined: lower case. */
  readonly bits: (() => number) | undefined
}

/** The query that a forwarder gets; its question as {@link Asked} wants it. */
export function makeQuery(o: Asking): { readonly query: Uint8Array; readonly asked: Asked } {
  const { id, name, type, edns } = o
  const questionEnd = wire.HEADER_BYTES + name.length + 1 + wire.QUESTION_BYTES
  const query = new Uint8Array(questionEnd + (edns ? wire.OPT_BYTES : 0))
  put16(query, 0, id)
  const checking = o.checkingDisabled ? Flag.CheckingDisabled : 0
  put16(query, wire.FLAGS, Flag.RecursionDesired | checking)
  put16(query, wire.QDCOUNT, 1)
  put16(query, wire.ARCOUNT, edns ? 1 : 0)
  putQuestionName(query, name, o.bits)
  put16(query, questionEnd - 4, type)
  put16(query, questionEnd - 2, Class.In)
  if (edns) wire.putOpt(query, questionEnd, { rcode: 0, dnssecOk: o.dnssecOk })
  return { query, asked: { id, name, type, message: query.subarray(0, questionEnd) } }
}

function putQuestionName(query: Uint8Array, name: Name, bits: (() => number) | undefined): void {
  let pool = 0
  let left = 0
  for (let label = 0; label < name.length; ) {
    const length = name.charCodeAt(label)
    query[wire.HEADER_BYTES + label] = length
    for (let i = label + 1; i <= label + length; i++) {
      let code = name.charCodeAt(i)
      if (bits !== undefined && code >= 0x61 && code <= 0x7a) {
        if (left === 0) [pool, left] = [bits(), 16]
        code ^= (pool & 1) << 5
        pool >>>= 1
        left--
      }
      query[wire.HEADER_BYTES + i] = code
    }
    label += length + 1
  }
}
