/**
 * Opening a packet socket on an interface that is there already (packet(7)): frames with
 * virtio-net headers, so super-frames both ways, and read and written one a call like a TAP's.
 *
 * It hears one VLAN of the interface, or what has no tag, for stations of its own beside the
 * interface's: the kernel is asked to let them through (PACKET_MR_UNICAST), and a filter (classic
 * BPF, in the kernel) keeps everything else of the host's away. The kernel takes the tag off
 * before a packet socket sees a frame, and a read does not show it; that is why each VLAN has a
 * socket of its own. The host drops what is for our stations, as it is for another machine.
 *
 * ```text
 *   our VLAN? -> to a group? -> to a station of ours?  -> accept
 *                            -> everything wanted, and not to the interface's own MAC -> accept
 * ```
 *
 * Groups are all let through by the hardware (PACKET_MR_ALLMULTI), since stations join what they
 * like, as every IPv6 host does. Only who wants everything makes the interface promiscuous.
 *
 * Bound to one interface of the namespace that the thread is in; it keeps that namespace alive.
 */
import type { Handle } from '../device.ts'
import { StackError } from '../errors.ts'
import { addressOf, close, errno, errnoName, setOption, syscall6 } from './libc.ts'

const [SOCKET, BIND] = [41, 49]
const AF_PACKET = 17
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0x800 | 0x8_0000
/** In network order; a socket of protocol 0 hears nothing until it is bound. */
const ETH_P_ALL_BE = 0x0300
const SOL_SOCKET = 1
const SO_ATTACH_FILTER = 26
const FPROG_BYTES = 16
const SO_SNDBUFFORCE = 32
const SO_RCVBUFFORCE = 33
const SOL_PACKET = 263
const PACKET_ADD_MEMBERSHIP = 1
const PACKET_DROP_MEMBERSHIP = 2
const PACKET_VNET_HDR = 15
const PACKET_QDISC_BYPASS = 20
const PACKET_IGNORE_OUTGOING = 23
const PACKET_MR_PROMISC = 1
const PACKET_MR_ALLMULTI = 2
const PACKET_MR_UNICAST = 3
/** Super-frames that may wait: a hundred. */
const BUFFER_BYTES = 8 << 20
const SOCKADDR_LL_BYTES = 20

/** Stations of one socket: a program may have 4,096 instructions, and each takes five. */
const STATIONS_MAX = 512

/** Classic BPF: load a byte, half or word; and; jump if equal or if bits are set; return. */
const [LDB, LDH, LDW, AND, JEQ, JSET, RET] = [0x30, 0x28, 0x20, 0x54, 0x15, 0x45, 0x06]
/** Ancillary datum "the tag that was taken off" (filter.h: SKF_AD_OFF + SKF_AD_VLAN_TAG). */
const VLAN_TAG = 0xffff_f000 + 44
const VID_BITS = 0x0fff
const ACCEPT_BYTES = 0xffff_ffff

/** A station by its MAC, `hi` and `lo` as in mac.ts. */
export interface Station {
  readonly hi: number
  readonly lo: number
}

/** What a packet socket is to hear. */
export interface Hearing {
  /** 0: what has no tag, or one that means only a priority. */
  readonly vid: number
  /** At most {@link STATIONS_MAX}. */
  readonly stations: readonly Station[]
  /** Also what is for nobody here; the interface becomes promiscuous. */
  readonly everything: boolean
}

export interface PacketSocket extends Handle {
  /** Exchange the stations. @throws StackError `exhausted` beyond {@link STATIONS_MAX}. */
  readonly setStations: (stations: readonly Station[]) => void
}

/**
 * Open one on interface `index`, whose MAC is `own`.
 * @throws StackError that says which step failed; CAP_NET_RAW is needed.
 */
export function openPacketSocket(index: number, own: Station, hearing: Hearing): PacketSocket {
  const fd = syscall6(SOCKET, AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0, 0, 0)
  if (fd < 0) throw failure('open a packet socket (needs CAP_NET_RAW)')
  let now: readonly Station[] = []
  const setStations = (stations: readonly Station[]): void => {
    if (stations.length > STATIONS_MAX) {
      throw new StackError('exhausted', `a packet socket hears ${STATIONS_MAX} stations at most`)
    }
    const isNew = (station: Station): boolean => !includes(now, station)
    for (const station of stations.filter(isNew)) {
      setOption(
        fd,
        SOL_PACKET,
        PACKET_ADD_MEMBERSHIP,
        membership(index, PACKET_MR_UNICAST, station),
      )
    }
    attachFilter(fd, program(own, { ...hearing, stations }))
    for (const station of now.filter((before) => !includes(stations, before))) {
      setOption(
        fd,
        SOL_PACKET,
        PACKET_DROP_MEMBERSHIP,
        membership(index, PACKET_MR_UNICAST, station),
      )
    }
    now = [...stations]
  }
  try {
    setStations(hearing.stations)
    setOption(fd, SOL_PACKET, PACKET_VNET_HDR, 1)
    setOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    setOption(fd, SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES)
    setOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership(index, PACKET_MR_ALLMULTI))
    if (hearing.everything) {
      setOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership(index, PACKET_MR_PROMISC))
    }
    bind(fd, index)
  } catch (error) {
    close(fd)
    throw error
  }
  return { fd, offload: { csum: true, tso: true, uso: true }, setStations }
}

/** `struct packet_mreq`. */
function membership(index: number, type: number, station?: Station): Uint8Array {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  view.setInt32(0, index, true)
  view.setUint16(4, type, true)
  if (station === undefined) return bytes
  view.setUint16(6, 6, true)
  view.setUint16(8, station.hi)
  view.setUint32(10, station.lo)
  return bytes
}

function includes(stations: readonly Station[], { hi, lo }: Station): boolean {
  return stations.some((other) => other.hi === hi && other.lo >>> 0 === lo >>> 0)
}

function program(own: Station, { vid, stations, everything }: Hearing): Instruction[] {
  const refuseOwn = everything && !includes(stations, own)
  return [
    [LDW, 0, 0, VLAN_TAG],
    [AND, 0, 0, VID_BITS],
    [JEQ, 1, 0, vid],
    [RET, 0, 0, 0],
    [LDB, 0, 0, 0],
    [JSET, 0, 1, 1],
    [RET, 0, 0, ACCEPT_BYTES],
    ...stations.flatMap((station) => ifTo(station, ACCEPT_BYTES)),
    ...(refuseOwn ? ifTo(own, 0) : []),
    [RET, 0, 0, everything ? ACCEPT_BYTES : 0],
  ]
}

/** Return `bytes` of a frame to that station; else go on. */
function ifTo({ hi, lo }: Station, bytes: number): Instruction[] {
  return [
    [LDW, 0, 0, 2],
    [JEQ, 0, 3, lo >>> 0],
    [LDH, 0, 0, 0],
    [JEQ, 0, 1, hi],
    [RET, 0, 0, bytes],
  ]
}

/** An instruction of classic BPF: where to jump if it holds, and if not. */
export type Instruction = readonly [code: number, yes: number, no: number, k: number]

/** Let through what a program says. @throws StackError. */
export function attachFilter(fd: number, program: readonly Instruction[]): void {
  // struct sock_fprog, and behind it the program that it points to: one piece of memory lives or
  // goes as a whole.
  const bytes = new Uint8Array(FPROG_BYTES + program.length * 8)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, program.length, true)
  view.setBigUint64(8, BigInt(addressOf(bytes) + FPROG_BYTES), true)
  for (const [i, [operation, yes, no, k]] of program.entries()) {
    const at = FPROG_BYTES + i * 8
    view.setUint16(at, operation, true)
    view.setUint8(at + 2, yes)
    view.setUint8(at + 3, no)
    view.setUint32(at + 4, k, true)
  }
  setOption(fd, SOL_SOCKET, SO_ATTACH_FILTER, bytes.subarray(0, FPROG_BYTES))
}

/** Hear the interface `index`, all protocols. @throws StackError. */
export function bind(fd: number, index: number): void {
  const address = new Uint8Array(SOCKADDR_LL_BYTES)
  const view = new DataView(address.buffer)
  view.setUint16(0, AF_PACKET, true)
  view.setUint16(2, ETH_P_ALL_BE, true)
  view.setInt32(4, index, true)
  if (syscall6(BIND, fd, addressOf(address), SOCKADDR_LL_BYTES, 0, 0) < 0) {
    throw failure('bind a packet socket')
  }
}

function failure(what: string): StackError {
  return new StackError('syscall', `${what}: ${errnoName(errno())}`)
}
