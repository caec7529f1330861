/**
 * DHCP message (RFC 2131 §2) with its options (RFC 2132).
 *
 * ```text
 *  0   1     2    3    4    8    10    12     16     20     24     28     44    108  236    240
 *  |op|htype|hlen|hops|xid |secs|flags|ciaddr|yiaddr|siaddr|giaddr|chaddr|sname|file|cookie|options
 *  option: code | octets | value …     0: padding, 255: the end
 * ```
 *
 * A request is read into a value, as there are few of them and they are answered by thinking; what
 * does not fit the format is none. Of an option that comes twice the first is taken; `sname` and
 * `file` are not looked at, in which a client has nothing to say.
 */
import { i32, put16, put32, u8, u16, u32 } from '../bytes.ts'
import { type Mac, mac, putMac } from '../eth/mac.ts'

export const SERVER_PORT = 67
export const CLIENT_PORT = 68
const [OP, HTYPE, HLEN, XID, SECS, FLAGS] = [0, 1, 2, 4, 8, 10]
const [CIADDR, YIADDR, SIADDR, GIADDR, CHADDR, COOKIE, OPTIONS] = [12, 16, 20, 24, 28, 236, 240]
const REQUEST = 1
const REPLY = 2
const ETHERNET = 1
const MAC_BYTES = 6
const MAGIC = 0x6382_5363
const BROADCAST_FLAG = 0x8000
/** The least that a client takes (RFC 2131 §2): 312 octets of options. */
const MESSAGE_MIN_MAX_BYTES = 576
/** IP and UDP header of such a message. */
export const HEADERS_BYTES = 28
/** Of BOOTP (RFC 951 §3); some clients drop less. */
const BOOTP_BYTES = 300

export const MessageType = {
  Discover: 1,
  Offer: 2,
  Request: 3,
  Decline: 4,
  Ack: 5,
  Nak: 6,
  Release: 7,
  Inform: 8,
} as const

export const Option = {
  Pad: 0,
  Mask: 1,
  Router: 3,
  Dns: 6,
  HostName: 12,
  Domain: 15,
  Mtu: 26,
  Broadcast: 28,
  Requested: 50,
  LeaseTime: 51,
  Type: 53,
  Server: 54,
  Parameters: 55,
  Message: 56,
  MaxBytes: 57,
  RenewalTime: 58,
  RebindingTime: 59,
  ClientId: 61,
  Search: 119,
  Routes: 121,
  End: 255,
} as const

/** What both kinds of messages have. Addresses are words; 0: none. */
interface Message {
  readonly type: number
  readonly xid: number
  readonly broadcast: boolean
  readonly ciaddr: number
  readonly yiaddr: number
  readonly giaddr: number
  readonly mac: Mac
  /** Value of each option. */
  readonly options: ReadonlyMap<number, Uint8Array>
}

export interface DhcpMessage extends Message {
  readonly request: boolean
}

/** The message at `at`, or undefined. Of BOOTP, which has no type, none is read. */
export function parse(mem: Uint8Array, at: number, bytes: number): DhcpMessage | undefined {
  if (bytes <= OPTIONS || u32(mem, at + COOKIE) !== MAGIC) return undefined
  const op = u8(mem, at + OP)
  if (op !== REQUEST && op !== REPLY) return undefined
  if (u8(mem, at + HTYPE) !== ETHERNET || u8(mem, at + HLEN) !== MAC_BYTES) return undefined
  const options = parseOptions(mem, at + OPTIONS, at + bytes)
  const type = options?.get(Option.Type)
  if (options === undefined || type?.length !== 1) return undefined
  return {
    request: op === REQUEST,
    type: type[0]!,
    xid: u32(mem, at + XID),
    broadcast: (u16(mem, at + FLAGS) & BROADCAST_FLAG) !== 0,
    ciaddr: i32(mem, at + CIADDR),
    yiaddr: i32(mem, at + YIADDR),
    giaddr: i32(mem, at + GIADDR),
    mac: mac(mem, at + CHADDR),
    options,
  }
}

function parseOptions(
  mem: Uint8Array,
  from: number,
  end: number,
): Map<number, Uint8Array> | undefined {
  const options = new Map<number, Uint8Array>()
  for (let at = from; at < end; ) {
    const code = u8(mem, at)
    if (code === Option.End) break
    if (code === Option.Pad) {
      at++
      continue
    }
    if (at + 2 > end) return undefined
    const next = at + 2 + u8(mem, at + 1)
    if (next > end) return undefined
    if (!options.has(code)) options.set(code, mem.slice(at + 2, next))
    at = next
  }
  return options
}

/** The address that an option holds, or undefined. */
export function addressOption({ options }: Message, code: number): number | undefined {
  const value = options.get(code)
  return value?.length === 4 ? i32(value, 0) : undefined
}

export function numberOption({ options }: Message, code: number): number | undefined {
  const value = options.get(code)
  if (value?.length === 4) return u32(value, 0)
  return value?.length === 2 ? u16(value, 0) : undefined
}

/** Octets that a client takes in one message, IP and UDP header included (RFC 2132 §9.10). */
export function maxBytes(message: Message): number {
  const said = message.options.get(Option.MaxBytes)
  const number = said?.length === 2 ? u16(said, 0) : 0
  return Math.max(number, MESSAGE_MIN_MAX_BYTES)
}

export interface MessageFields {
  readonly request: boolean
  readonly xid: number
  readonly broadcast: boolean
  readonly secs?: number
  readonly ciaddr?: number
  readonly yiaddr?: number
  readonly siaddr?: number
  readonly mac: Mac
  /** Codes and values in the order in which they are written. */
  readonly options: readonly (readonly [code: number, value: Uint8Array])[]
}

/**
 * Write a message of at most `bytesMax` octets; its octets. What does not fit is left out, the
 * last option first. One longer than 255 octets is split (RFC 3396).
 */
export function put(mem: Uint8Array, at: number, fields: MessageFields, bytesMax: number): number {
  mem.fill(0, at, at + Math.max(OPTIONS, BOOTP_BYTES))
  mem[at + OP] = fields.request ? REQUEST : REPLY
  mem[at + HTYPE] = ETHERNET
  mem[at + HLEN] = MAC_BYTES
  put32(mem, at + XID, fields.xid)
  put16(mem, at + SECS, fields.secs ?? 0)
  put16(mem, at + FLAGS, fields.broadcast ? BROADCAST_FLAG : 0)
  put32(mem, at + CIADDR, fields.ciaddr ?? 0)
  put32(mem, at + YIADDR, fields.yiaddr ?? 0)
  put32(mem, at + SIADDR, fields.siaddr ?? 0)
  put32(mem, at + GIADDR, 0)
  putMac(mem, at + CHADDR, fields.mac)
  put32(mem, at + COOKIE, MAGIC)
  let next = at + OPTIONS
  for (const [code, value] of fields.options) {
    const parts = Math.max(1, Math.ceil(value.length / 255))
    if (next - at + 2 * parts + value.length + 1 > bytesMax) break
    for (let i = 0; i < parts; i++) {
      const part = value.subarray(255 * i, 255 * (i + 1))
      mem[next] = code
      mem[next + 1] = part.length
      mem.set(part, next + 2)
      next += 2 + part.length
    }
  }
  mem[next++] = Option.End
  return Math.max(next - at, BOOTP_BYTES)
}
