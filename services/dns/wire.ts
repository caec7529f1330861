/**
 * The DNS message (RFC 1035 §4.1), as numbers and places.
 *
 * ```text
 *  0     2       4         6         8         10        12
 *  | id | flags | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT | questions, records …
 *
 *  record: name | type 2 | class 2 | TTL 4 | length 2 | data
 * ```
 */
import { put16, u16 } from '../../stack/bytes.ts'

export const HEADER_BYTES = 12
export const FLAGS = 2
export const QDCOUNT = 4
export const ANCOUNT = 6
export const NSCOUNT = 8
export const ARCOUNT = 10

/** Of a record, from the end of its name. */
export const RECORD_BYTES = 10
export const TTL = 4
export const RDLENGTH = 8
/** Of a question, from the end of its name. */
export const QUESTION_BYTES = 4

export const LABEL_MAX = 63
/** With its lengths and the final zero. */
export const NAME_BYTES_MAX = 255
/** What every receiver takes over UDP (RFC 1035 §4.2.1). */
export const UDP_MIN_BYTES = 512
/** What passes every path without fragments, and what this node offers (RFC 9715 §3). */
export const UDP_BYTES = 1232
export const TCP_BYTES_MAX = 0xffff
export const PORT = 53

export const Flag = {
  Response: 0x8000,
  Opcode: 0x7800,
  Authoritative: 0x0400,
  Truncated: 0x0200,
  RecursionDesired: 0x0100,
  RecursionAvailable: 0x0080,
  CheckingDisabled: 0x0010,
  Rcode: 0x000f,
} as const

export const Rcode = {
  NoError: 0,
  FormErr: 1,
  ServFail: 2,
  NxDomain: 3,
  NotImp: 4,
  Refused: 5,
  BadVers: 16,
} as const

const RCODE_NAMES: Readonly<Record<number, string>> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
  16: 'BADVERS',
}

export const Class = { In: 1 } as const

export const Type = {
  A: 1,
  Ns: 2,
  Cname: 5,
  Soa: 6,
  Ptr: 12,
  Hinfo: 13,
  Mx: 15,
  Txt: 16,
  Aaaa: 28,
  Srv: 33,
  Dname: 39,
  Opt: 41,
  Rrsig: 46,
  Tsig: 250,
  Ixfr: 251,
  Axfr: 252,
  MailB: 253,
  MailA: 254,
  Any: 255,
} as const

/** Types by the names that people ask for; others are `TYPE65` (RFC 3597 §5). */
const TYPE_NAMES: Readonly<Record<number, string>> = {
  1: 'A',
  2: 'NS',
  5: 'CNAME',
  6: 'SOA',
  12: 'PTR',
  13: 'HINFO',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  33: 'SRV',
  35: 'NAPTR',
  39: 'DNAME',
  43: 'DS',
  46: 'RRSIG',
  48: 'DNSKEY',
  52: 'TLSA',
  64: 'SVCB',
  65: 'HTTPS',
  255: 'ANY',
  257: 'CAA',
}

const EDNS_DO = 0x8000
const EDNS_TTL_DO = 6
const EDNS_VERSION = 5
const EDNS_EXTENDED = 4

export function typeName(type: number): string {
  return TYPE_NAMES[type] ?? `TYPE${type}`
}

/** Undefined: no such type. */
export function typeOf(text: string): number | undefined {
  const upper = text.toUpperCase()
  const found = Object.entries(TYPE_NAMES).find(([, name]) => name === upper)
  if (found !== undefined) return Number(found[0])
  const number = /^TYPE(\d{1,5})$/.exec(upper)?.[1]
  return number !== undefined && Number(number) <= 0xffff ? Number(number) : undefined
}

export function rcodeName(rcode: number): string {
  return RCODE_NAMES[rcode] ?? `RCODE${rcode}`
}

export function flags(mem: Uint8Array, at: number): number {
  return u16(mem, at + FLAGS)
}

/** An OPT record's sender: octets of UDP that it takes (RFC 6891 §6.1.2); `opt` is its type. */
export function ednsBytes(mem: Uint8Array, opt: number): number {
  return Math.max(UDP_MIN_BYTES, u16(mem, opt + 2))
}

export function ednsVersion(mem: Uint8Array, opt: number): number {
  return mem[opt + EDNS_VERSION]!
}

/** Upper 8 bits of the response code. */
export function ednsExtended(mem: Uint8Array, opt: number): number {
  return mem[opt + EDNS_EXTENDED]!
}

export function ednsDnssecOk(mem: Uint8Array, opt: number): boolean {
  return (u16(mem, opt + EDNS_TTL_DO) & EDNS_DO) !== 0
}

export const OPT_BYTES: number = 1 + RECORD_BYTES

/** Write an OPT record without options: 11 octets. */
export function putOpt(
  mem: Uint8Array,
  at: number,
  { rcode, dnssecOk }: { readonly rcode: number; readonly dnssecOk: boolean },
): void {
  mem[at] = 0
  put16(mem, at + 1, Type.Opt)
  put16(mem, at + 3, UDP_BYTES)
  mem[at + 5] = rcode >>> 4
  mem[at + 6] = 0
  put16(mem, at + 7, dnssecOk ? EDNS_DO : 0)
  put16(mem, at + 9, 0)
}
