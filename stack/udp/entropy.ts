/**
 * Which of a few sockets a frame leaves by: the same for all packets of a flow, so that they keep
 * their order, and different for different ones, so that routers and receivers of the underlay can
 * spread them (RFC 7348 §5). Not secret: the hash only has to mix.
 */
import { i32, u16 } from '../bytes.ts'
import * as eth from '../eth/frame.ts'
import * as ipv4 from '../ip/ipv4.ts'
import * as ipv6 from '../ip/ipv6.ts'

/** Octets of a frame with ports: Ethernet, IP, ports. */
const V4_BYTES = eth.HEADER_BYTES + ipv4.HEADER_BYTES + 4
const V6_BYTES = eth.HEADER_BYTES + ipv6.HEADER_BYTES + 4
const MIXER = 0x9e37_79b1

/** A number below `2 ** bits` for the flow of the frame at `frame`, of which `bytes` are there. */
export function flowBits(mem: Uint8Array, frame: number, bytes: number, bits: number): number {
  const type = bytes < eth.HEADER_BYTES ? 0 : u16(mem, frame + eth.TYPE)
  const ip = frame + eth.HEADER_BYTES
  let h = 0
  if (type === eth.EtherType.Ipv4 && bytes >= V4_BYTES) {
    h = i32(mem, ip + ipv4.SRC) ^ Math.imul(i32(mem, ip + ipv4.DST), MIXER)
    const plain = mem[ip] === 0x45 && !ipv4.isFragment(mem, ip)
    if (plain && hasPorts(ipv4.protocol(mem, ip))) h ^= i32(mem, ip + ipv4.HEADER_BYTES)
  } else if (type === eth.EtherType.Ipv6 && bytes >= V6_BYTES) {
    for (let at = ip + ipv6.SRC; at < ip + ipv6.HEADER_BYTES; at += 4) {
      h = Math.imul(h, MIXER) ^ i32(mem, at)
    }
    if (hasPorts(ipv6.nextHeader(mem, ip))) h ^= i32(mem, ip + ipv6.HEADER_BYTES)
  } else if (type !== 0) h = i32(mem, frame + eth.DST + 2) ^ i32(mem, frame + eth.SRC + 2)
  h = Math.imul(h ^ (h >>> 15), MIXER)
  return (h ^ (h >>> 13)) >>> (32 - bits)
}

function hasPorts(protocol: number): boolean {
  return protocol === ipv4.Protocol.Tcp || protocol === ipv4.Protocol.Udp
}
