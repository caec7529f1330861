/**
 * VLANs of one bridge port (IEEE 802.1Q clauses 6.9 and 8.6): which it carries, what an untagged
 * frame belongs to, and how a frame leaves.
 *
 * ```text
 *   access port   { pvid: 10 }                    untagged in VLAN 10 <-> no tag outside
 *   trunk port    { tagged: [10, 20] }            tags kept; untagged frames are refused
 *   hybrid port   { pvid: 1, tagged: [10, 20] }   VLAN 1 without a tag, the others with
 *   no options                                    every VLAN; 1 without a tag, the others with
 * ```
 *
 * A frame of the PVID leaves untagged, unless the PVID is listed in `tagged` too. A priority tag
 * (VID 0) counts as untagged; its priority is kept if the frame leaves tagged. Only the outer tag
 * of type 8100 counts: an inner tag or a service tag (88a8) is payload.
 *
 * Inside the bridge a frame keeps the form in which it came, and {@link PortVlans.dress} changes it
 * at the way out, because most frames leave as they came. The tag moves in the headroom: only the
 * twelve octets of addresses are copied, and offsets into the payload stay as they are.
 */
import { copy, put16, u16 } from '../bytes.ts'
import { StackError } from '../errors.ts'
import { type Packet, pull, push } from '../packet.ts'
import { EtherType, HEADER_BYTES, putType, TAG_BYTES, TYPE, type, vid as vidOf } from './frame.ts'

/** VLAN identifiers that may be used are 1 to 4094 (IEEE 802.1Q table 9-2). */
export const VID_MAX = 4094
/** The PVID of a port that says nothing (IEEE 802.1Q table 9-2). */
export const DEFAULT_PVID = 1

export interface PortVlanOptions {
  /** VLAN of untagged frames; undefined: they are refused. */
  readonly pvid?: number
  /** VLANs whose frames leave with a tag. */
  readonly tagged?: readonly number[]
}

const VIDS = 4096
const PRIORITY_BITS = 0xf000
const Membership = { None: 0, Tagged: 1, Untagged: 2 } as const

export class PortVlans {
  /** VLAN of untagged frames, or -1. */
  readonly pvid: number
  /** Membership by VLAN identifier; 0 and 4095 are never members. */
  readonly #membership = new Uint8Array(VIDS)

  /** @throws StackError `bad-argument` for an identifier that is not 1 to 4094. */
  constructor(options: PortVlanOptions | undefined) {
    const { pvid, tagged = [] } = options ?? { pvid: DEFAULT_PVID }
    if (options === undefined) this.#membership.fill(Membership.Tagged, 1, VID_MAX + 1)
    if (pvid !== undefined) this.#membership[checkVid(pvid)] = Membership.Untagged
    for (const vid of tagged) this.#membership[checkVid(vid)] = Membership.Tagged
    this.pvid = pvid ?? -1
  }

  carries(vid: number): boolean {
    return this.#membership[vid] !== Membership.None
  }

  /** VLAN of a frame that came in here, or -1 if the port does not carry it. */
  classify(mem: Uint8Array, frame: number): number {
    const vid = type(mem, frame) === EtherType.Vlan ? vidOf(mem, frame) : 0
    if (vid === 0) return this.pvid
    return this.carries(vid) ? vid : -1
  }

  /** Give a frame of VLAN `vid` the form in which it leaves here. Precondition: it is carried. */
  dress(mem: Uint8Array, packet: Packet, vid: number): void {
    const isTagged = type(mem, packet.head) === EtherType.Vlan
    if (this.#membership[vid] === Membership.Untagged) {
      if (isTagged) popTag(mem, packet)
    } else if (isTagged) setVid(mem, packet.head, vid)
    else pushTag(mem, packet, vid)
  }
}

/** @throws StackError `bad-argument`. */
export function checkVid(vid: number): number {
  if (Number.isInteger(vid) && vid >= 1 && vid <= VID_MAX) return vid
  throw new StackError('bad-argument', `VLAN ${vid}: 1 to ${VID_MAX} may be used`)
}

/** Take the outer tag away. Precondition: the frame has one. */
function popTag(mem: Uint8Array, packet: Packet): void {
  copy(mem, packet.head + TAG_BYTES, packet.head, TYPE)
  pull(packet, TAG_BYTES)
}

/** Insert a tag of priority 0. Precondition: four octets of headroom. */
export function pushTag(mem: Uint8Array, packet: Packet, vid: number): void {
  push(packet, TAG_BYTES)
  copy(mem, packet.head, packet.head + TAG_BYTES, TYPE)
  putType(mem, packet.head, EtherType.Vlan)
  put16(mem, packet.head + HEADER_BYTES, vid)
}

/** Set the identifier and keep the priority. Precondition: the frame is tagged. */
function setVid(mem: Uint8Array, frame: number, vid: number): void {
  const tci = frame + HEADER_BYTES
  put16(mem, tci, (u16(mem, tci) & PRIORITY_BITS) | vid)
}
