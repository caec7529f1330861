/**
 * virtio-net header: the offload facts in front of every frame of a TAP (virtio 1.2 §5.1.6).
 * Little-endian, as the host.
 *
 * ```text
 *  0      1         2             4             6             8              10
 *  | flags| gso type| header bytes| gso size    | csum start  | csum offset  | frame …
 * ```
 * Reading fills the facts of a packet, writing is the reverse. `header bytes` is not to be
 * trusted when read (it may be all of the linear part), so it is computed when written.
 */
import { put16le, u8, u16le } from './bytes.ts'
import { GsoType, type Packet } from './packet.ts'

export const VNET_BYTES = 10
const NEEDS_CSUM = 1
const TCP_HEADER_WORDS = 12
const UDP_HEADER_BYTES = 8

/**
 * Take the facts from the header at `at`, which the frame follows; `packet.head` and `len` are
 * already the frame's. False if they contradict the frame's length.
 */
export function readFacts(mem: Uint8Array, at: number, packet: Packet): boolean {
  const flags = u8(mem, at)
  const gsoType = u8(mem, at + 1)
  if ((flags & NEEDS_CSUM) !== 0) {
    const start = u16le(mem, at + 6)
    const offset = u16le(mem, at + 8)
    if (start + offset + 2 > packet.len) return false
    packet.csumStart = packet.head + start
    packet.csumOffset = offset
  }
  if (gsoType === GsoType.None) return true
  packet.gsoType = gsoType
  packet.gsoSize = u16le(mem, at + 4)
  return packet.gsoSize > 0 && packet.csumStart !== 0
}

/** Write the header for `packet` at `at`. Precondition: ten octets before the frame are ours. */
export function putFacts(mem: Uint8Array, at: number, packet: Packet): void {
  if (packet.csumStart === 0) {
    for (let i = 0; i < VNET_BYTES; i++) mem[at + i] = 0
    return
  }
  const start = packet.csumStart - packet.head
  mem[at] = NEEDS_CSUM
  mem[at + 1] = packet.gsoType
  put16le(mem, at + 2, packet.gsoType === GsoType.None ? 0 : headerBytes(mem, packet, start))
  put16le(mem, at + 4, packet.gsoSize)
  put16le(mem, at + 6, start)
  put16le(mem, at + 8, packet.csumOffset)
}

/** Octets before the payload of a super-frame. */
function headerBytes(mem: Uint8Array, packet: Packet, start: number): number {
  if (packet.gsoType === GsoType.Udp) return start + UDP_HEADER_BYTES
  return start + ((u8(mem, packet.csumStart + TCP_HEADER_WORDS) >>> 4) << 2)
}
