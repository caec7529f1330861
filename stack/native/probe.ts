/**
 * What this kernel can do, found out by doing it: kernels have refused super-frames that they
 * promise to take (EINVAL on GSO writes in some 6.6 and 6.10 releases), so each kind is written
 * once to a scratch TAP in a namespace of its own before it is relied on.
 */
import * as checksum from '../checksum.ts'
import type { Offload } from '../device.ts'
import { GsoType, HEADROOM_BYTES, type Packet, Pool } from '../packet.ts'
import { putFacts, VNET_BYTES } from '../vnet.ts'
import { addressOf, close, write } from './libc.ts'
import { Netlink } from './netlink.ts'
import { inScratchNetns } from './netns.ts'
import { openTap } from './tun.ts'

const PAYLOAD_BYTES = 2500
const SEGMENT_BYTES = 1000
const [ETHERNET, IPV4, TCP, UDP] = [14, 20, 20, 8]

/** Offloads that work here. @throws StackError if TAPs cannot be opened at all. */
export function probeOffload(): Offload {
  return inScratchNetns(() => {
    const { fd, offload } = openTap('probe0', true)
    try {
      const netlink = new Netlink()
      const link = netlink.link('probe0')
      if (link !== undefined) netlink.setLink(link.index, { up: true })
      netlink.close()
      const tso = offload.tso && accepts(fd, GsoType.TcpV4)
      return { csum: tso, tso, uso: tso && offload.uso && accepts(fd, GsoType.Udp) }
    } finally {
      close(fd)
    }
  })
}

/** Write one super-frame whose last segment is short; its TTL of 0 ends it in the kernel. */
function accepts(fd: number, gsoType: number): boolean {
  const pool = new Pool({ smallCount: 0, largeCount: 1 })
  const packet = pool.alloc(ETHERNET + IPV4 + TCP + PAYLOAD_BYTES)!
  fillSuperFrame(pool.mem, packet, gsoType)
  const at = packet.head - VNET_BYTES
  putFacts(pool.mem, at, packet)
  const bytes = packet.len + VNET_BYTES
  return write(fd, addressOf(pool.mem) + at, bytes) === bytes
}

function fillSuperFrame(mem: Uint8Array, packet: Packet, gsoType: number): void {
  const tcp = gsoType === GsoType.TcpV4
  const l4 = tcp ? TCP : UDP
  const total = IPV4 + l4 + PAYLOAD_BYTES
  const ip = packet.slot + HEADROOM_BYTES + ETHERNET
  mem.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0], packet.head)
  mem.set([0x45, 0, total >> 8, total & 0xff, 0, 0, 0x40, 0, 0, tcp ? 6 : 17], ip)
  mem.set([192, 0, 2, 1, 192, 0, 2, 2], ip + 12)
  const sum = ~checksum.sum(mem, ip, IPV4) & 0xffff
  mem.set([sum >> 8, sum & 0xff], ip + 10)
  if (tcp) mem[ip + IPV4 + 12] = 0x50
  else mem.set([0, 9, 0, 9, (total - IPV4) >> 8, (total - IPV4) & 0xff], ip + IPV4)
  packet.len = ETHERNET + total
  packet.gsoType = gsoType
  packet.gsoSize = SEGMENT_BYTES
  packet.csumStart = ip + IPV4
  packet.csumOffset = tcp ? 16 : 6
}
