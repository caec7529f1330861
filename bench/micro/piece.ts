/** One thing to measure inside the process, and the frames that the pieces work on. */
import { parseAddress, putAddress } from '../../stack/address.ts'
import * as eth from '../../stack/eth/frame.ts'
import { type Mac, putMac } from '../../stack/eth/mac.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as udp from '../../stack/ip/udp.ts'

export interface Piece {
  readonly name: string
  /** Operations of one call of `run`: enough that the call itself does not count. */
  readonly operations: number
  /** Returns something that depends on all of them, so that the compiler must do them. */
  readonly run: () => number
}

/** Operations a call, where nothing else suggests itself. */
export const OPERATIONS = 1024

/** The shortest Ethernet frame: 18 octets of UDP payload. */
export const FRAME_BYTES = 60

export interface End {
  readonly mac: Mac
  readonly address: string
}

/** Write a frame of {@link FRAME_BYTES} with an intact UDP datagram, its UDP checksum left out. */
export function putFrame(mem: Uint8Array, at: number, ends: { from: End; to: End }): void {
  const { from, to } = ends
  putMac(mem, at + eth.DST, to.mac)
  putMac(mem, at + eth.SRC, from.mac)
  eth.putType(mem, at, eth.EtherType.Ipv4)
  const ip = at + eth.HEADER_BYTES
  const totalBytes = FRAME_BYTES - eth.HEADER_BYTES
  putAddress(mem, ip + ipv4.SRC, parseAddress(from.address))
  putAddress(mem, ip + ipv4.DST, parseAddress(to.address))
  const protocol = ipv4.Protocol.Udp
  ipv4.putHeader(mem, ip, { totalBytes, id: 0, fragment: 0, ttl: 64, protocol })
  const bytes = totalBytes - ipv4.HEADER_BYTES
  udp.putHeader(mem, ip + ipv4.HEADER_BYTES, { srcPort: 4000, dstPort: 9000, bytes })
}
