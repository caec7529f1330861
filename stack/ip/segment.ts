/**
 * Software offload: super-frames cut into the segments they stand for, and partial checksums
 * completed, for receivers that cannot do it themselves.
 *
 * ```text
 *  head        ip            csumStart       csumStart + L4 header
 *   | Ethernet | IP header   | TCP or UDP    | payload: gsoSize | gsoSize | ... | rest
 *              every segment gets a copy of all headers, and one piece of the payload
 * ```
 *
 * A segment differs from the super-frame in its IP length, IPv4 identification and checksum, TCP
 * sequence number and flags (FIN and PSH only on the last, CWR only on the first; RFC 3168 §6.1.2)
 * or UDP length. Its transport checksum stays partial: the pseudo-header's sum with the length
 * exchanged; {@link completeChecksum} then sums the segment where that is wanted.
 *
 * Offload facts come from whoever sent the frame, so {@link superHeaderBytes} holds them against
 * the headers before anything is read through them. Segments are asked for one by one, so callers
 * keep their context in local variables and no callback is made per packet.
 */
import { copy, put16, put32, u16, u32 } from '../bytes.ts'
import { finish, fold } from '../checksum.ts'
import type { Device, Offload } from '../device.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { GsoType, type Output, type Packet, type Pool } from '../packet.ts'
import * as extension from './extension.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import * as tcp from './tcp.ts'
import * as udp from './udp.ts'

/** 64 KB in segments of 36 octets: Linux's smallest MSS of 48 less TCP timestamps. */
const SEGMENTS_MAX = 1820
const NOT_ON_LAST: number = tcp.Flag.Fin | tcp.Flag.Psh
/** Tags looked through to find the IP header: one of a customer and one of a provider. */
const TAGS_MAX = 2

/** Offset of the IP header in a frame, tags skipped. */
export function ipOffset(mem: Uint8Array, packet: Packet): number {
  let at = packet.head + eth.TYPE
  for (let i = 0; i < TAGS_MAX && u16(mem, at) === eth.EtherType.Vlan; i++) at += eth.TAG_BYTES
  return at + 2
}

/**
 * Octets of all headers of a super-frame, from `head` to the payload, or -1 if its offload facts
 * contradict its headers, its length or each other. `ip`: offset of its IP header.
 */
export function superHeaderBytes(mem: Uint8Array, packet: Packet, ip: number): number {
  const { csumStart, csumOffset, gsoSize, gsoType } = packet
  const end = packet.head + packet.len
  const isUdp = gsoType === GsoType.Udp
  if (gsoSize === 0 || csumStart <= ip || ip >= end) return -1
  const protocol = isUdp ? ipv4.Protocol.Udp : ipv4.Protocol.Tcp
  if (mem[ip]! >>> 4 === 4) {
    if (gsoType === GsoType.TcpV6 || !isTransport4(mem, ip, end, csumStart, protocol)) return -1
  } else if (gsoType === GsoType.TcpV4 || !isTransport6(mem, ip, end, csumStart, protocol)) {
    return -1
  }
  let payload = csumStart + udp.HEADER_BYTES
  if (isUdp) {
    if (csumOffset !== udp.CHECKSUM || payload > end) return -1
  } else {
    if (csumOffset !== tcp.CHECKSUM || !tcp.isHeader(mem, csumStart, end - csumStart)) return -1
    payload = csumStart + tcp.headerBytes(mem, csumStart)
  }
  return end - payload > gsoSize * SEGMENTS_MAX ? -1 : payload - packet.head
}

function isTransport4(
  mem: Uint8Array,
  ip: number,
  end: number,
  transport: number,
  protocol: number,
): boolean {
  return (
    ipv4.isHeader(mem, ip, end - ip) &&
    ipv4.totalBytes(mem, ip) === end - ip &&
    ip + ipv4.headerBytes(mem, ip) === transport &&
    ipv4.protocol(mem, ip) === protocol &&
    !ipv4.isFragment(mem, ip)
  )
}

function isTransport6(
  mem: Uint8Array,
  ip: number,
  end: number,
  transport: number,
  protocol: number,
): boolean {
  return (
    ipv6.isHeader(mem, ip, end - ip) &&
    ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip) === end - ip &&
    extension.walk(mem, ip, end) === (transport - ip) * 256 + protocol
  )
}

/** How many segments a super-frame stands for; 1 also for one without payload. */
export function segmentCount(packet: Packet, headerBytes: number): number {
  return Math.max(1, Math.ceil((packet.len - headerBytes) / packet.gsoSize))
}

/**
 * A new packet with segment `index` of a super-frame, its checksum partial, or undefined if the
 * pool is exhausted. `packet` stays the caller's. Precondition: `headerBytes` is what
 * {@link superHeaderBytes} returned for this `ip`, and `index < segmentCount`.
 */
export function segmentAt(
  pool: Pool,
  packet: Packet,
  ip: number,
  headerBytes: number,
  index: number,
): Packet | undefined {
  const { mem } = pool
  const skip = index * packet.gsoSize
  const payload = packet.len - headerBytes
  const bytes = Math.min(packet.gsoSize, payload - skip)
  const segment = pool.alloc(headerBytes + bytes)
  if (segment === undefined) return undefined
  segment.len = headerBytes + bytes
  segment.ingress = packet.ingress
  segment.traced = packet.traced
  segment.csumStart = packet.csumStart - packet.head + segment.head
  segment.csumOffset = packet.csumOffset
  copy(mem, segment.head, packet.head, headerBytes)
  copy(mem, segment.head + headerBytes, packet.head + headerBytes + skip, bytes)
  putLengths(mem, segment, ip - packet.head + segment.head, payload - bytes, index)
  if (packet.gsoType !== GsoType.Udp) {
    putTcp(mem, segment.csumStart, skip, index === 0, skip + bytes >= payload)
  }
  return segment
}

/** Mend the lengths of a segment that is `lessBytes` shorter than the super-frame. */
function putLengths(
  mem: Uint8Array,
  segment: Packet,
  ip: number,
  lessBytes: number,
  index: number,
): void {
  const end = segment.head + segment.len
  if (mem[ip]! >>> 4 === 4) {
    put16(mem, ip + ipv4.TOTAL, end - ip)
    put16(mem, ip + ipv4.ID, u16(mem, ip + ipv4.ID) + index)
    ipv4.putChecksum(mem, ip)
  } else {
    put16(mem, ip + ipv6.PAYLOAD, end - ip - ipv6.HEADER_BYTES)
  }
  const transportBytes = end - segment.csumStart
  const field = segment.csumStart + segment.csumOffset
  const less = ~(transportBytes + lessBytes) & 0xffff
  put16(mem, field, fold(u16(mem, field) + less + transportBytes))
  if (segment.csumOffset === udp.CHECKSUM) {
    put16(mem, segment.csumStart + udp.LENGTH, transportBytes)
  }
}

function putTcp(mem: Uint8Array, at: number, skip: number, first: boolean, last: boolean): void {
  put32(mem, at + tcp.SEQ, u32(mem, at + tcp.SEQ) + skip)
  let flags = tcp.flags(mem, at)
  if (!last) flags &= ~NOT_ON_LAST
  if (!first) flags &= ~tcp.Flag.Cwr
  mem[at + tcp.FLAGS] = flags
}

/** Sum what a partial checksum left open. False if its facts point outside the packet. */
export function completeChecksum(mem: Uint8Array, packet: Packet): boolean {
  const { csumStart, csumOffset } = packet
  if (csumStart === 0) return true
  const end = packet.head + packet.len
  if (csumStart < packet.head || csumStart + csumOffset + 2 > end) return false
  finish(mem, csumStart, csumOffset, end)
  packet.csumStart = 0
  packet.csumOffset = 0
  return true
}

function takes(offload: Offload, gsoType: number): boolean {
  return gsoType === GsoType.Udp ? offload.uso : offload.tso
}

/**
 * An element in front of a device: what `device.offload` lacks is done here, all else passes.
 * Takes ownership. Drops: `frame-offload-bad`, `pool-empty`.
 */
export function segmenter(pool: Pool, device: Device, next: Output): Output {
  const { mem } = pool
  const { offload } = device
  const element = `segment ${device.name}`

  const cut = (packet: Packet): void => {
    const ip = ipOffset(mem, packet)
    const headerBytes = superHeaderBytes(mem, packet, ip)
    if (headerBytes < 0) return pool.drop(packet, DropReason.FrameOffloadBad)
    const count = segmentCount(packet, headerBytes)
    if (packet.traced) {
      pool.trace?.step(element, `a super-frame, cut into ${count} segments`)
      return next(packet)
    }
    for (let i = 0; i < count; i++) {
      const segment = segmentAt(pool, packet, ip, headerBytes, i)
      if (segment === undefined) return pool.drop(packet, DropReason.PoolEmpty)
      if (!offload.csum) completeChecksum(mem, segment)
      next(segment)
    }
    pool.free(packet)
  }

  return (packet) => {
    if (packet.gsoType !== GsoType.None && !takes(offload, packet.gsoType)) return cut(packet)
    if (packet.csumStart !== 0 && !offload.csum && !completeChecksum(mem, packet)) {
      return pool.drop(packet, DropReason.FrameOffloadBad)
    }
    next(packet)
  }
}
