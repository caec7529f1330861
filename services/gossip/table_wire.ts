/**
 * Messages between the tables of nodes, each in one datagram or one message of a stream.
 *
 * ```text
 *   0       1         2      3
 *   | 'T'   | version | kind | sender: text | clock: number | body          (numbers: octets.ts)
 *
 *   gossip   table, ranges to the end         fresh writes; whoever learns from it tells on
 *   update   table, ranges to the end         what the receiver lacked, by its digest
 *   summary  (table, hash of 8 octets)*       what the sender knows of tables that both are in
 *   same     (table, hash)*                   of a summary, those that the sender knows as well
 *   digest   table, progress*                 how far the sender knows each owner; asks for more
 *   answer   table, progress*                 the same, and asks nothing in return but updates
 *
 *   range    owner: text (empty: as before), boot unless as before, from, to - from,
 *            number of records, records
 *   record   flags, key: 6 octets, seq - from - 1, since, held if flag 2, value if flag 1
 *   progress owner: text, boot, floor
 * ```
 *
 * Versions differ only in what a receiver could not understand; a message of another version is
 * refused whole. Limits: a text 255 octets, a value {@link VALUE_BYTES_MAX}; the number of items is
 * bounded by the message, since none is empty.
 */
import { VALUE_BYTES_MAX } from './endpoint_value.ts'
import { OctetReader, OctetWriter } from './octets.ts'
import type { Progress, RecordRange, TableRecord } from './table_record.ts'

/** First octet of all that tables say to each other. */
const CHANNEL = 0x54
const VERSION = 1

const Kind = { gossip: 1, update: 2, summary: 3, same: 4, digest: 5, answer: 6 } as const
type KindName = keyof typeof Kind
const KINDS: readonly (KindName | undefined)[] = [undefined, ...(Object.keys(Kind) as KindName[])]

const LIVE = 1
const HELD = 2

/** Lamport times and boots stay below, so that they can always be counted on. */
export const TIME_MAX: number = 2 ** 48

export interface TableHash {
  readonly vni: number
  readonly hi: number
  readonly lo: number
}

export interface News {
  readonly kind: 'gossip' | 'update'
  readonly vni: number
  readonly ranges: readonly RecordRange[]
}

export interface Summary {
  readonly kind: 'summary' | 'same'
  readonly tables: readonly TableHash[]
}

export interface Digest {
  readonly kind: 'digest' | 'answer'
  readonly vni: number
  readonly progress: readonly Progress[]
}

export interface Heading {
  /** Name of the node that sent it. */
  readonly sender: string
  /** Its Lamport time. */
  readonly clock: number
}

export type TableBody = News | Summary | Digest
export type TableMessage = Heading & { readonly body: TableBody }

/** True: it is for tables, whatever is in it. */
export function isForTables(bytes: Uint8Array): boolean {
  return bytes[0] === CHANNEL
}

/** Undefined: not a message of this version, or damaged. */
export function decodeMessage(bytes: Uint8Array): TableMessage | undefined {
  if (bytes[0] !== CHANNEL || bytes[1] !== VERSION) return undefined
  const reader = new OctetReader(bytes, 2)
  const kind = KINDS[reader.u8()]
  const sender = reader.text()
  const clock = time(reader)
  if (kind === undefined || sender === '') return undefined
  const body = readBody(reader, kind)
  return reader.failed ? undefined : { sender, clock, body }
}

function readBody(reader: OctetReader, kind: KindName): TableBody {
  if (kind === 'summary' || kind === 'same') {
    const tables: TableHash[] = []
    while (reader.left > 0) tables.push({ vni: vni(reader), hi: reader.u32(), lo: reader.u32() })
    return { kind, tables }
  }
  const table = vni(reader)
  if (kind === 'digest' || kind === 'answer') {
    const progress: Progress[] = []
    while (reader.left > 0) {
      progress.push({ owner: name(reader), boot: time(reader), floor: reader.number() })
    }
    return { kind, vni: table, progress }
  }
  const ranges: RecordRange[] = []
  while (reader.left > 0) ranges.push(readRange(reader, ranges[ranges.length - 1]))
  return { kind, vni: table, ranges }
}

function vni(reader: OctetReader): number {
  const value = reader.number()
  if (value >= 2 ** 24) reader.fail()
  return value
}

function time(reader: OctetReader): number {
  const value = reader.number()
  if (value >= TIME_MAX) reader.fail()
  return value
}

function name(reader: OctetReader): string {
  const text = reader.text()
  if (text === '') reader.fail()
  return text
}

function readRange(reader: OctetReader, before: RecordRange | undefined): RecordRange {
  const text = reader.text()
  const same = text === ''
  const owner = same ? (before?.owner ?? '') : text
  const boot = same ? (before?.boot ?? 0) : time(reader)
  if (owner === '') reader.fail()
  const from = reader.number()
  const to = from + reader.number()
  if (!Number.isSafeInteger(to)) reader.fail()
  const count = reader.number()
  const records: TableRecord[] = []
  for (let i = 0; i < count && !reader.failed; i++) records.push(readRecord(reader, owner, from))
  for (const { seq } of records) if (!Number.isSafeInteger(seq)) reader.fail()
  return { owner, boot, from, to, records }
}

function readRecord(reader: OctetReader, owner: string, from: number): TableRecord {
  const flags = reader.u8()
  if ((flags & ~(LIVE | HELD)) !== 0) reader.fail()
  const key = reader.u48()
  const seq = from + 1 + reader.number()
  const since = time(reader)
  const held = (flags & HELD) === 0 ? 0 : time(reader)
  const value = (flags & LIVE) === 0 ? undefined : reader.octets(VALUE_BYTES_MAX)
  return { owner, key, seq, since, held, value }
}

/** Room at first for a message of ranges: more than a datagram. */
const FIRST_BYTES_MAX = 4096

/** Writes one message of ranges, up to a size. */
export class RangeMessage {
  readonly #writer: OctetWriter
  readonly #bytesMax: number
  readonly #empty: number
  #owner = ''
  #boot = -1

  constructor(kind: 'gossip' | 'update', at: { heading: Heading; vni: number; bytesMax: number }) {
    // What does not fit is written as well, and taken back.
    this.#writer = new OctetWriter(Math.min(2 * at.bytesMax, FIRST_BYTES_MAX))
    putHeading(this.#writer, kind, at.heading)
    this.#writer.number(at.vni)
    this.#bytesMax = at.bytesMax
    this.#empty = this.#writer.length
  }

  get isEmpty(): boolean {
    return this.#writer.length === this.#empty
  }

  /** False: there is no room, and nothing was added. */
  add(range: RecordRange): boolean {
    const writer = this.#writer
    const before = writer.length
    const same = range.owner === this.#owner && range.boot === this.#boot
    writer.text(same ? '' : range.owner)
    if (!same) writer.number(range.boot)
    writer.number(range.from)
    writer.number(range.to - range.from)
    writer.number(range.records.length)
    for (const record of range.records) putRecord(writer, record, range.from)
    if (writer.length > this.#bytesMax) {
      writer.cut(before)
      return false
    }
    this.#owner = range.owner
    this.#boot = range.boot
    return true
  }

  take(): Uint8Array {
    return this.#writer.take()
  }
}

function putHeading(writer: OctetWriter, kind: KindName, { sender, clock }: Heading): void {
  writer.u8(CHANNEL)
  writer.u8(VERSION)
  writer.u8(Kind[kind])
  writer.text(sender)
  writer.number(clock)
}

function putRecord(writer: OctetWriter, record: TableRecord, from: number): void {
  const { key, seq, since, held, value } = record
  writer.u8((value === undefined ? 0 : LIVE) | (held === 0 ? 0 : HELD))
  writer.u48(key)
  writer.number(seq - from - 1)
  writer.number(since)
  if (held !== 0) writer.number(held)
  if (value !== undefined) writer.octets(value)
}

/** As many tables as fit; the caller chooses which come first. */
export function encodeSummary(
  heading: Heading,
  { kind, tables }: Summary,
  bytesMax: number,
): Uint8Array {
  const writer = new OctetWriter()
  putHeading(writer, kind, heading)
  for (const table of tables) {
    const before = writer.length
    writer.number(table.vni)
    writer.u32(table.hi)
    writer.u32(table.lo)
    if (writer.length > bytesMax) {
      writer.cut(before)
      break
    }
  }
  return writer.take()
}

export function encodeDigest(heading: Heading, body: Digest): Uint8Array {
  const writer = new OctetWriter()
  putHeading(writer, body.kind, heading)
  writer.number(body.vni)
  for (const { owner, boot, floor } of body.progress) {
    writer.text(owner)
    writer.number(boot)
    writer.number(floor)
  }
  return writer.take()
}
