/**
 * Where the headers of a captured frame are: one pass from Ethernet to the ports, for filters and
 * for one-line summaries. Total: any octets at all give a result, and what is truncated or unknown
 * is simply not there (an offset of -1).
 *
 * One VLAN tag is looked through. Extension headers of IPv6 are walked (RFC 8200 §4), at most
 * {@link EXTENSIONS_MAX} of them. Ports are known for whole datagrams and first fragments only.
 *
 * A capture may hold less than the frame, so this asks the octets that are there and not the
 * length fields, which `isHeader` of the protocol modules would hold against a short capture.
 */
import { u8, u16 } from '../../stack/bytes.ts'
import * as eth from '../../stack/eth/frame.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'

const EXTENSIONS_MAX = 8
const AUTHENTICATION = 51

export class Dissection {
  mem: Uint8Array = new Uint8Array(0)
  /** The Ethernet header, and one past the last octet captured. */
  frame = 0
  end = 0
  /** EtherType behind a VLAN tag, if there is one; -1: the frame is shorter than its header. */
  etherType = -1
  /** VLAN identifier; -1: untagged. */
  vid = -1
  /** Start of what EtherType announces. */
  network = -1
  /** 4 or 6 if a whole IP header is there; else 0. */
  family = 0
  /** Protocol behind the IP header and its extensions; -1: none. */
  protocol = -1
  /** Start of that protocol's header; -1 if not captured, or in another fragment. */
  transport = -1
  /** True for any fragment of a datagram. */
  fragment = false
  srcPort = -1
  dstPort = -1

  /** Look at the `bytes` octets at `at`. The result is valid until the next call. */
  read(mem: Uint8Array, at: number, bytes: number): void {
    this.mem = mem
    this.frame = at
    this.end = at + bytes
    this.etherType = -1
    this.vid = -1
    this.network = -1
    this.family = 0
    this.protocol = -1
    this.transport = -1
    this.fragment = false
    this.srcPort = -1
    this.dstPort = -1
    if (bytes < eth.HEADER_BYTES) return
    this.etherType = eth.type(mem, at)
    this.network = at + eth.HEADER_BYTES
    if (this.etherType === eth.EtherType.Vlan) this.#readTag()
    if (this.etherType === eth.EtherType.Ipv4) this.#readIpv4()
    else if (this.etherType === eth.EtherType.Ipv6) this.#readIpv6()
    if (this.transport >= this.end) this.transport = -1
    if (this.transport >= 0) this.#readPorts()
  }

  #readTag(): void {
    if (this.end - this.network < eth.TAG_BYTES) return
    this.vid = eth.vid(this.mem, this.frame)
    this.etherType = u16(this.mem, this.network + 2)
    this.network += eth.TAG_BYTES
  }

  #readIpv4(): void {
    const at = this.network
    if (this.end - at < ipv4.HEADER_BYTES || u8(this.mem, at) >>> 4 !== 4) return
    this.family = 4
    this.protocol = ipv4.protocol(this.mem, at)
    this.fragment = ipv4.isFragment(this.mem, at)
    const header = ipv4.headerBytes(this.mem, at)
    if (header < ipv4.HEADER_BYTES || ipv4.fragmentOffset(this.mem, at) !== 0) return
    this.transport = at + header
  }

  #readIpv6(): void {
    const { mem, network } = this
    if (this.end - network < ipv6.HEADER_BYTES || u8(mem, network) >>> 4 !== 6) return
    this.family = 6
    let next = ipv6.nextHeader(mem, network)
    let at = network + ipv6.HEADER_BYTES
    for (let i = 0; i < EXTENSIONS_MAX && isExtension(next); i++) {
      if (this.end - at < 8) return
      if (next === ipv6.Next.Fragment) {
        this.fragment = true
        if ((u16(mem, at + 2) & 0xfff8) !== 0) {
          this.protocol = u8(mem, at)
          return
        }
      }
      const bytes = extensionBytes(next, u8(mem, at + 1))
      next = u8(mem, at)
      at += bytes
    }
    this.protocol = next
    this.transport = at
  }

  #readPorts(): void {
    const { protocol } = this
    if (protocol !== ipv4.Protocol.Tcp && protocol !== ipv4.Protocol.Udp) return
    if (this.end - this.transport < 4) return
    this.srcPort = u16(this.mem, this.transport)
    this.dstPort = u16(this.mem, this.transport + 2)
  }
}

function isExtension(next: number): boolean {
  return (
    next === ipv6.Next.HopByHop ||
    next === ipv6.Next.Routing ||
    next === ipv6.Next.Fragment ||
    next === ipv6.Next.Options ||
    next === AUTHENTICATION
  )
}

/** Size of an extension header by its length octet (RFC 8200 §4, RFC 4302 §2.2). */
function extensionBytes(next: number, length: number): number {
  if (next === ipv6.Next.Fragment) return 8
  return next === AUTHENTICATION ? (length + 2) * 4 : (length + 1) * 8
}
