/** A UDP socket in a sandbox's kernel, held by the test itself: quicker than a process each. */
import { check, close, mapMemory, syscall6 } from '../../stack/native/libc.ts'
import { inNetns } from '../../stack/native/netns.ts'

const [SOCKET, CONNECT, SENDTO, RECVFROM, BIND] = [41, 42, 44, 45, 49]
const AF_INET = 2
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0x800 | 0x8_0000
const SOCKADDR_BYTES = 16
const PAYLOAD_AT = 32
const PAYLOAD_BYTES = 4

export class UdpSocket {
  readonly #fd: number
  readonly #mapping = mapMemory(4096)
  readonly #view = new DataView(this.#mapping.buffer)

  constructor(netns: string, port: number) {
    this.#fd = inNetns(netns, () =>
      check(syscall6(SOCKET, AF_INET, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0, 0, 0), 'socket'),
    )
    this.#address(0, port)
    check(syscall6(BIND, this.#fd, this.#mapping.address, SOCKADDR_BYTES, 0, 0), 'bind')
  }

  #address(ip: number, port: number): void {
    this.#view.setUint16(0, AF_INET, true)
    this.#view.setUint16(2, port)
    this.#view.setUint32(4, ip)
  }

  /** Send one number; what the kernel has no room for is lost. */
  send(value: number, to: { readonly ip: number; readonly port: number }): void {
    const { address } = this.#mapping
    this.#view.setUint32(PAYLOAD_AT, value)
    this.#address(to.ip, to.port)
    // The sixth argument of sendto, the length of the address, does not fit in a fast call.
    check(syscall6(CONNECT, this.#fd, address, SOCKADDR_BYTES, 0, 0), 'connect')
    syscall6(SENDTO, this.#fd, address + PAYLOAD_AT, PAYLOAD_BYTES, 0, 0)
    this.#view.setUint16(0, 0, true)
    check(syscall6(CONNECT, this.#fd, address, SOCKADDR_BYTES, 0, 0), 'disconnect')
  }

  /** The next number that came, or undefined. */
  receive(): number | undefined {
    const at = this.#mapping.address + PAYLOAD_AT
    const bytes = syscall6(RECVFROM, this.#fd, at, PAYLOAD_BYTES, 0, 0)
    return bytes === PAYLOAD_BYTES ? this.#view.getUint32(PAYLOAD_AT) : undefined
  }

  close(): void {
    close(this.#fd)
  }
}
