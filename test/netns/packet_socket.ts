/**
 * An AF_PACKET socket with virtio-net headers (packet(7)): a test's hands on the far side of a
 * TAP. What the kernel would hide is put back: the tag that it strips on receiving.
 */
import { check, close, errno, mapMemory, syscall6 } from '../../stack/native/libc.ts'

const [SOCKET, SENDTO, RECVMSG, BIND, SETSOCKOPT] = [41, 44, 47, 49, 54]
const AF_PACKET = 17
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0x800 | 0x8_0000
const ETH_P_ALL_BE = 0x0300
const SOL_PACKET = 263
const PACKET_AUXDATA = 8
const PACKET_VNET_HDR = 15
const PACKET_IGNORE_OUTGOING = 23
const TP_STATUS_VLAN_VALID = 0x10
const VNET_BYTES = 10
const AGAIN = 11
const FRAME_BYTES = 70_000

export interface RawFrame {
  readonly vnet: Uint8Array
  readonly bytes: Uint8Array
}

export class PacketSocket {
  readonly #fd: number
  readonly #mapping = mapMemory(FRAME_BYTES + 4096)
  readonly #mem = new Uint8Array(this.#mapping.buffer)
  readonly #view = new DataView(this.#mapping.buffer)

  /** Precondition: this thread is in the interface's namespace. */
  constructor(ifIndex: number) {
    this.#fd = check(syscall6(SOCKET, AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0, 0, 0), 'socket')
    for (const name of [PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING]) this.#set(name)
    this.#view.setUint16(0, AF_PACKET, true)
    this.#view.setUint16(2, ETH_P_ALL_BE, true)
    this.#view.setInt32(4, ifIndex, true)
    check(syscall6(BIND, this.#fd, this.#mapping.address, 20, 0, 0), 'bind')
  }

  #set(name: number): void {
    this.#view.setInt32(0, 1, true)
    const { address } = this.#mapping
    check(syscall6(SETSOCKOPT, this.#fd, SOL_PACKET, name, address, 4), `option ${name}`)
  }

  send(frame: Uint8Array, vnet: Uint8Array = new Uint8Array(VNET_BYTES)): void {
    this.#mem.set(vnet, 0)
    this.#mem.set(frame, VNET_BYTES)
    const bytes = VNET_BYTES + frame.length
    check(syscall6(SENDTO, this.#fd, this.#mapping.address, bytes, 0, 0), 'send a frame')
  }

  /** The next frame, or undefined if there is none now. */
  receive(): RawFrame | undefined {
    const { address } = this.#mapping
    const at = FRAME_BYTES
    const [iov, control] = [at + 64, at + 128]
    this.#mem.fill(0, at, at + 512)
    this.#view.setBigUint64(at + 16, BigInt(address + iov), true)
    this.#view.setBigUint64(at + 24, 1n, true)
    this.#view.setBigUint64(at + 32, BigInt(address + control), true)
    this.#view.setBigUint64(at + 40, 256n, true)
    this.#view.setBigUint64(iov, BigInt(address), true)
    this.#view.setBigUint64(iov + 8, BigInt(FRAME_BYTES), true)
    const bytes = syscall6(RECVMSG, this.#fd, address + at, 0, 0, 0)
    if (bytes < 0) {
      if (errno() === AGAIN) return undefined
      check(bytes, 'receive a frame')
    }
    const vnet = this.#mem.slice(0, VNET_BYTES)
    const frame = this.#mem.slice(VNET_BYTES, bytes)
    const aux = control + 16
    const tagged = (this.#view.getUint32(aux, true) & TP_STATUS_VLAN_VALID) !== 0
    return { vnet, bytes: tagged ? retag(frame, this.#view.getUint16(aux + 16, true)) : frame }
  }

  close(): void {
    close(this.#fd)
  }
}

function retag(frame: Uint8Array, tci: number): Uint8Array {
  const whole = new Uint8Array(frame.length + 4)
  whole.set(frame.subarray(0, 12))
  whole.set([0x81, 0x00, tci >> 8, tci & 0xff], 12)
  whole.set(frame.subarray(12), 16)
  return whole
}
