/**
 * A query as it comes from a client: read once, strictly, without making anything but its name.
 *
 * ```text
 *   shorter than a header, or a response ---> nothing: an answer could make two servers talk
 *   no question, or two (RFC 9619) ---------> FORMERR
 *   other opcodes --------------------------> NOTIMP
 *   records where none belong, odd ends ----> FORMERR
 *   a later version of EDNS (RFC 6891) -----> BADVERS
 * ```
 *
 * One record of this is used for query after query; what must outlive the call is copied by
 * {@link Query.keep}.
 */
import { u16 } from '../../stack/bytes.ts'
import { lastName, type Name, ROOT, readName, readPlain } from './name.ts'
import * as wire from './wire.ts'
import { Flag, Rcode, Type } from './wire.ts'

/** What {@link Query.read} found; a response code otherwise. */
export const SILENCE = -1

export class Query {
  id = 0
  flags = 0
  /** Lower case. */
  name: Name = ROOT
  type = 0
  /** Octets of the question as the client wrote it; 0: there is none to give back. */
  questionBytes = 0
  /** It sent an OPT record. */
  edns = false
  dnssecOk = false
  /** Largest answer that it takes over UDP. */
  udpBytes: number = wire.UDP_MIN_BYTES
  /** Octets of the whole message. */
  bytes = 0
  /** Octets of the message from its start to the end of the question. */
  get headBytes(): number {
    return wire.HEADER_BYTES + this.questionBytes
  }

  /** `Rcode.NoError`; another response code that is due; or {@link SILENCE}. */
  read(mem: Uint8Array, at: number, bytes: number): number {
    this.bytes = bytes
    if (bytes < wire.HEADER_BYTES) return SILENCE
    const end = at + bytes
    this.id = u16(mem, at)
    this.flags = wire.flags(mem, at)
    this.name = ROOT
    this.type = 0
    this.questionBytes = 0
    this.edns = false
    this.dnssecOk = false
    this.udpBytes = wire.UDP_MIN_BYTES
    if ((this.flags & Flag.Response) !== 0) return SILENCE
    if ((this.flags & Flag.Opcode) !== 0) return Rcode.NotImp
    if (u16(mem, at + wire.QDCOUNT) !== 1) return Rcode.FormErr
    const from = at + wire.HEADER_BYTES
    const nameBytes = readPlain(mem, from, end)
    if (nameBytes < 0 || from + nameBytes + wire.QUESTION_BYTES > end) return Rcode.FormErr
    this.name = lastName()
    this.type = u16(mem, from + nameBytes)
    this.questionBytes = nameBytes + wire.QUESTION_BYTES
    if (u16(mem, at + wire.ANCOUNT) !== 0 || u16(mem, at + wire.NSCOUNT) !== 0) {
      return Rcode.FormErr
    }
    const extra = this.#readExtra(mem, at, end)
    if (extra !== Rcode.NoError) return extra
    return this.#judge(u16(mem, from + nameBytes + 2))
  }

  /** A copy that later queries leave alone. */
  keep(): Query {
    const copy = new Query()
    copy.bytes = this.bytes
    copy.id = this.id
    copy.flags = this.flags
    copy.name = this.name
    copy.type = this.type
    copy.questionBytes = this.questionBytes
    copy.edns = this.edns
    copy.dnssecOk = this.dnssecOk
    copy.udpBytes = this.udpBytes
    return copy
  }

  get recursionDesired(): boolean {
    return (this.flags & Flag.RecursionDesired) !== 0
  }

  get checkingDisabled(): boolean {
    return (this.flags & Flag.CheckingDisabled) !== 0
  }

  /** The additional section: at most one OPT, whatever else is there is skipped. */
  #readExtra(mem: Uint8Array, message: number, end: number): number {
    const count = u16(mem, message + wire.ARCOUNT)
    let at = message + this.headBytes
    let version = 0
    for (let i = 0; i < count; i++) {
      const nameBytes = readName(mem, message, at, end)
      const fixed = at + nameBytes
      if (nameBytes < 0 || fixed + wire.RECORD_BYTES > end) return Rcode.FormErr
      if (u16(mem, fixed) === Type.Opt) {
        if (this.edns || nameBytes !== 1) return Rcode.FormErr
        this.edns = true
        this.udpBytes = wire.ednsBytes(mem, fixed)
        this.dnssecOk = wire.ednsDnssecOk(mem, fixed)
        version = wire.ednsVersion(mem, fixed)
      }
      at = fixed + wire.RECORD_BYTES + u16(mem, fixed + wire.RDLENGTH)
      if (at > end) return Rcode.FormErr
    }
    if (at !== end) return Rcode.FormErr
    return version === 0 ? Rcode.NoError : Rcode.BadVers
  }

  /** Is it one that a resolver of hosts answers? */
  #judge(questionClass: number): number {
    const { type } = this
    if (type === Type.Opt || type === 0) return Rcode.FormErr
    if (type === Type.Axfr || type === Type.Ixfr) return Rcode.Refused
    if (type === Type.MailA || type === Type.MailB || type === Type.Tsig) return Rcode.NotImp
    return questionClass === wire.Class.In ? Rcode.NoError : Rcode.Refused
  }
}
