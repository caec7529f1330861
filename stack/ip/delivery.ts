/**
 * From the router to its own services: extension headers are judged and fragments reassembled,
 * so that local.ts sees whole datagrams only.
 *
 * Frames come in with `head` at the Ethernet header; `group` as in local.ts.
 */
import { u8 } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { type Packet, type Pool, pull } from '../packet.ts'
import { DATAGRAM_MAX_BYTES, unite } from './datagram.ts'
import * as extension from './extension.ts'
import * as fragment from './fragment_header.ts'
import type { IcmpErrors } from './icmp_errors.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import type { Local } from './local.ts'
import { Problems } from './problems.ts'
import type { Reassembly } from './reassembly.ts'
import type { RouterInterface } from './router_interface.ts'

export interface DeliveryOptions {
  readonly pool: Pool
  readonly local: Local
  readonly reassembly: Reassembly
  readonly errors: IcmpErrors
}

export class Delivery {
  readonly #pool: Pool
  readonly #local: Local
  readonly #reassembly: Reassembly
  readonly #errors: IcmpErrors

  constructor({ pool, local, reassembly, errors }: DeliveryOptions) {
    this.#pool = pool
    this.#local = local
    this.#reassembly = reassembly
    this.#errors = errors
  }

  /** An IPv4 packet for this node. Takes ownership. */
  receive4(from: RouterInterface, packet: Packet, group: boolean): void {
    packet.recorded = false
    if (!ipv4.isFragment(this.#pool.mem, packet.head + eth.HEADER_BYTES)) {
      return this.#local.receive4(from, packet, group)
    }
    if (packet.csumStart !== 0) return this.#pool.drop(packet, DropReason.FrameOffloadBad)
    const whole = this.#reassembly.add4(packet, from.index)
    if (whole !== undefined) this.#local.receive4(from, whole, group)
  }

  /** An IPv6 packet for this node. Takes ownership. */
  receive6(from: RouterInterface, packet: Packet, group: boolean): void {
    packet.recorded = false
    const { mem } = this.#pool
    const ip = packet.head + eth.HEADER_BYTES
    const end = packet.head + packet.len
    const step = extension.walk(mem, ip, end)
    if (step < 0) return this.#pool.drop(packet, DropReason.IpMalformed)
    const verdict = extension.judge(mem, ip, end)
    if (verdict !== extension.Verdict.Accept) return this.#reject(from, packet, verdict)
    const protocol = step & 0xff
    const at = ip + (step >>> 8)
    if (protocol === ipv6.Next.Fragment) return this.#fragment6(from, packet, at, group)
    const field = extension.nextField(mem, ip, at) - ip
    this.#local.receive6(from, packet, { at, protocol, group, field })
  }

  #reject(from: RouterInterface, packet: Packet, verdict: number): void {
    const told = verdict & 3
    if (told === extension.Verdict.Discard) return this.#pool.drop(packet, DropReason.IpOptions)
    const field = told === extension.Verdict.TellField
    pull(packet, eth.HEADER_BYTES)
    const what = field ? Problems.ExtensionField : Problems.ExtensionOption
    this.#errors.refuse(packet, what, verdict >>> 2, from)
  }

  /** `at`: the fragment header. */
  #fragment6(from: RouterInterface, packet: Packet, at: number, group: boolean): void {
    const pool = this.#pool
    const { mem } = pool
    const ip = packet.head + eth.HEADER_BYTES
    const payload = at + fragment.HEADER_BYTES
    const bytes = packet.head + packet.len - payload
    if (packet.csumStart !== 0) return pool.drop(packet, DropReason.FrameOffloadBad)
    if (bytes <= 0) return pool.drop(packet, DropReason.FragmentMalformed)
    const more = fragment.moreFragments(mem, at)
    const offset = fragment.offsetBytes(mem, at)
    if (!more && offset === 0) {
      // A whole packet in a fragment's clothes has nothing to wait for (RFC 6946 §4).
      if (u8(mem, at) === ipv6.Next.Fragment) return pool.drop(packet, DropReason.IpMalformed)
      unite(mem, packet, payload)
      return this.receive6(from, packet, group)
    }
    // RFC 8200 §4.5: point at the payload length, or at the offset.
    if (more && (bytes & 7) !== 0) return this.#misfit(from, packet, ipv6.PAYLOAD)
    const before = at - ip - ipv6.HEADER_BYTES
    if (before + offset + bytes > DATAGRAM_MAX_BYTES) {
      return this.#misfit(from, packet, at + 2 - ip)
    }
    const whole = this.#reassembly.add6(packet, from.index, at)
    if (whole === undefined) return
    const step = extension.walk(mem, whole.head + eth.HEADER_BYTES, whole.head + whole.len)
    if ((step & 0xff) === ipv6.Next.Fragment) return pool.drop(whole, DropReason.IpMalformed)
    this.receive6(from, whole, group)
  }

  #misfit(from: RouterInterface, packet: Packet, pointer: number): void {
    pull(packet, eth.HEADER_BYTES)
    this.#errors.refuse(packet, Problems.FragmentField, pointer, from)
  }
}
