/** Octets: the Internet checksum at three lengths, and a look through a frame's headers. */
import { sum } from '../../stack/checksum.ts'
import * as eth from '../../stack/eth/frame.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as udp from '../../stack/ip/udp.ts'
import { FRAME_BYTES, OPERATIONS, type Piece, putFrame } from './piece.ts'

/** A frame without payload, one of the usual MTU, a super-frame. */
const LENGTHS = [40, 1480, 65_480] as const

function checksumPiece(mem: Uint8Array, bytes: number): Piece {
  const operations = Math.max(1, Math.floor((OPERATIONS * LENGTHS[1]) / bytes / 8))
  return {
    name: `checksum of ${bytes} octets`,
    operations,
    run: () => {
      let total = 0
      for (let i = 0; i < operations; i++) total += sum(mem, 16, bytes, i)
      return total
    },
  }
}

/** Everything the elements ask of a frame before they believe it. */
function parse(mem: Uint8Array, frame: number, bytes: number): number {
  if (!eth.isHeader(bytes) || eth.type(mem, frame) !== eth.EtherType.Ipv4) return 0
  const ip = frame + eth.HEADER_BYTES
  if (!ipv4.isHeader(mem, ip, bytes - eth.HEADER_BYTES) || !ipv4.isIntact(mem, ip)) return 0
  const header = ipv4.headerBytes(mem, ip)
  const segment = ip + header
  if (!udp.isHeader(mem, segment, ipv4.totalBytes(mem, ip) - header)) return 0
  return udp.dstPort(mem, segment) + ipv4.ttl(mem, ip)
}

export function headerPieces(): Piece[] {
  const mem = new Uint8Array(64 * 1024)
  for (let i = 0; i < mem.length; i++) mem[i] = (i * 197) & 0xff
  const frames = new Uint8Array(OPERATIONS * 64)
  for (let i = 0; i < OPERATIONS; i++) {
    putFrame(frames, i * 64, {
      from: { mac: { hi: 0x0200, lo: i }, address: `10.0.0.${1 + (i % 250)}` },
      to: { mac: { hi: 0x0200, lo: i + 1 }, address: '10.0.1.1' },
    })
  }
  const look: Piece = {
    name: 'Ethernet, IPv4 and UDP headers of a frame',
    operations: OPERATIONS,
    run: () => {
      let total = 0
      for (let i = 0; i < OPERATIONS; i++) total += parse(frames, i * 64, FRAME_BYTES)
      return total
    },
  }
  return [...LENGTHS.map((bytes) => checksumPiece(mem, bytes)), look]
}
