/**
 * Opening a packet socket on an interface that is there already (packet(7)): frames with
 * virtio-net headers, so super-frames both ways, and read and written one a call like a TAP's.
 *
 * It has a MAC of its own beside the interface's: the kernel is asked to let that through
 * (PACKET_MR_UNICAST), and a filter (classic BPF, in the kernel) keeps everything else of the
 * host's away, as well as frames of a VLAN, whose tag a read would not show. The host drops what
 * is for our MAC, as it is for another station.
 *
 * Bound to one interface of the namespace that the thread is in; it keeps that namespace alive.
 */
import type { Handle } from '../device.ts'
import { StackError } from '../errors.ts'
import { addressOf, close, errno, errnoName, syscall6 } from './libc.ts'

const [SOCKET, BIND, SETSOCKOPT] = [41, 49, 54]
const AF_PACKET = 17
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0x800 | 0x8_0000
/** In network order; a socket of protocol 0 hears nothing until it is bound. */
const ETH_P_ALL_BE = 0x0300
const SOL_SOCKET = 1
const SO_ATTACH_FILTER = 26
const SO_SNDBUFFORCE = 32
const SO_RCVBUFFORCE = 33
const SOL_PACKET = 263
const PACKET_ADD_MEMBERSHIP = 1
const PACKET_VNET_HDR = 15
const PACKET_QDISC_BYPASS = 20
const PACKET_IGNORE_OUTGOING = 23
const PACKET_MR_UNICAST = 3
/** Super-frames that may wait: a hundred. */
const BUFFER_BYTES = 8 << 20
const SOCKADDR_LL_BYTES = 20

/** Classic BPF: load a byte, half or word; jump if equal or if bits are set; return. */
const [LDB, LDH, LDW, JEQ, JSET, RET] = [0x30, 0x28, 0x20, 0x15, 0x45, 0x06]
/** Ancillary datum "a VLAN tag was present" (filter.h: SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT). */
const VLAN_PRESENT = 0xffff_f000 + 48
const ACCEPT_BYTES = 0xffff_ffff

/**
 * Open one on interface `index` for the station `hi`, `lo` (as in mac.ts).
 * @throws StackError that says which step failed; CAP_NET_RAW is needed.
 */
export function openPacketSocket(index: number, hi: number, lo: number): Handle {
  const fd = syscall6(SOCKET, AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0, 0, 0)
  if (fd < 0) throw failure('open a packet socket (needs CAP_NET_RAW)')
  try {
    setFilter(fd, hi, lo)
    setOption(fd, SOL_PACKET, PACKET_VNET_HDR, Int32Array.of(1))
    setOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, Int32Array.of(1))
    setOption(fd, SOL_PACKET, PACKET_QDISC_BYPASS, Int32Array.of(1))
    setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, Int32Array.of(BUFFER_BYTES))
    setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, Int32Array.of(BUFFER_BYTES))
    const membership = new Uint8Array(16)
    const view = new DataView(membership.buffer)
    view.setInt32(0, index, true)
    view.setUint16(4, PACKET_MR_UNICAST, true)
    view.setUint16(6, 6, true)
    view.setUint16(8, hi)
    view.setUint32(10, lo)
    setOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
    bind(fd, index)
  } catch (error) {
    close(fd)
    throw error
  }
  return { fd, offload: { csum: true, tso: true, uso: true } }
}

/** Frames without a VLAN tag, to a group or to the station. */
function setFilter(fd: number, hi: number, lo: number): void {
  attachFilter(fd, [
    [LDW, 0, 0, VLAN_PRESENT],
    [JEQ, 0, 7, 0],
    [LDB, 0, 0, 0],
    [JSET, 4, 0, 1],
    [LDW, 0, 0, 2],
    [JEQ, 0, 3, lo >>> 0],
    [LDH, 0, 0, 0],
    [JEQ, 0, 1, hi],
    [RET, 0, 0, ACCEPT_BYTES],
    [RET, 0, 0, 0],
  ])
}

/** An instruction of classic BPF: where to jump if it holds, and if not. */
export type Instruction = readonly [code: number, yes: number, no: number, k: number]

/** Let through what a program says. @throws StackError. */
export function attachFilter(fd: number, program: readonly Instruction[]): void {
  const code = new Uint8Array(program.length * 8)
  const view = new DataView(code.buffer)
  for (const [i, [operation, yes, no, k]] of program.entries()) {
    view.setUint16(i * 8, operation, true)
    view.setUint8(i * 8 + 2, yes)
    view.setUint8(i * 8 + 3, no)
    view.setUint32(i * 8 + 4, k, true)
  }
  const head = BigUint64Array.of(BigInt(program.length), BigInt(addressOf(code)))
  setOption(fd, SOL_SOCKET, SO_ATTACH_FILTER, new Uint8Array(head.buffer))
}

/** @throws StackError. */
export function setOption(
  fd: number,
  level: number,
  name: number,
  value: Int32Array | Uint8Array,
): void {
  const bytes = new Uint8Array(value.buffer)
  if (syscall6(SETSOCKOPT, fd, level, name, addressOf(bytes), bytes.length) < 0) {
    throw failure(`option ${name} of a packet socket`)
  }
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
