/**
 * Opening a TAP: /dev/net/tun and its ioctls (Documentation/networking/tuntap.rst).
 *
 * A TAP lives as long as its descriptor, and dies with its namespace: then reads and writes fail
 * with EBADFD. It is made in the namespace in which /dev/net/tun was opened, and the descriptor
 * holds on to that namespace for good. So a TAP is opened elsewhere and then moved: one that was
 * opened where it is used would keep its sandbox's namespace alive after everyone else left it.
 *
 * A persistent TAP lives on without a descriptor, with all its settings, and can be opened again:
 * in the namespace where it is by then.
 */
import type { Handle, Offload } from '../device.ts'
import { StackError } from '../errors.ts'
import { VNET_BYTES } from '../vnet.ts'
import { close, Errno, errno, errnoName, ioctlPointer, ioctlValue, open } from './libc.ts'

const TUNSETIFF = 0x400454ca
const TUNSETPERSIST = 0x400454cb
const TUNSETOFFLOAD = 0x400454d0
const TUNSETVNETHDRSZ = 0x400454d8
const O_RDWR_NONBLOCK_CLOEXEC = 0x2 | 0x800 | 0x8_0000
const IFF_TAP_NO_PI_VNET_HDR = 0x0002 | 0x1000 | 0x4000
const TUN_F_CSUM_TSO = 0x01 | 0x02 | 0x04
/** UDP super-frames: both families together or not at all. Since Linux 6.2. */
const TUN_F_USO = 0x20 | 0x40
const IFREQ_BYTES = 40
/** IFNAMSIZ, the final zero included (if.h). */
const NAME_BYTES_MAX = 15

/**
 * Open or make the TAP `name` here. With `offload`, ask for all that the kernel offers.
 * @throws StackError that says which step failed and what would help; `exists`: somebody has it.
 */
export function openTap(name: string, offload: boolean): Handle {
  if (name.length === 0 || name.length > NAME_BYTES_MAX) {
    throw new StackError('bad-argument', `interface name "${name}": 1 to ${NAME_BYTES_MAX} octets`)
  }
  const fd = open('/dev/net/tun', O_RDWR_NONBLOCK_CLOEXEC, 0)
  if (fd < 0) {
    const hint = 'needs the tun module, access to the device and CAP_NET_ADMIN'
    throw new StackError('syscall', `open /dev/net/tun: ${errnoName(errno())} (${hint})`)
  }
  try {
    const request = new Uint8Array(IFREQ_BYTES)
    request.set(new TextEncoder().encode(name))
    new DataView(request.buffer).setUint16(16, IFF_TAP_NO_PI_VNET_HDR, true)
    const made = ioctlPointer(fd, TUNSETIFF, request)
    if (made < 0 && errno() === Errno.Busy) {
      throw new StackError('exists', `the TAP ${name} is another process's`)
    }
    attempt(made, `make the TAP ${name}`)
    const size = new Uint8Array(Int32Array.of(VNET_BYTES).buffer)
    attempt(ioctlPointer(fd, TUNSETVNETHDRSZ, size), 'set the virtio-net header size')
    return { fd, offload: setOffload(fd, offload) }
  } catch (error) {
    close(fd)
    throw error
  }
}

/** Whether the TAP outlives its descriptor, to be opened again by its name. @throws StackError. */
export function setPersistent(fd: number, on: boolean): void {
  attempt(ioctlValue(fd, TUNSETPERSIST, on ? 1 : 0), `make a TAP ${on ? '' : 'not '}persistent`)
}

function setOffload(fd: number, wanted: boolean): Offload {
  if (!wanted) {
    attempt(ioctlValue(fd, TUNSETOFFLOAD, 0), 'turn offloads off')
    return { csum: false, tso: false, uso: false }
  }
  if (ioctlValue(fd, TUNSETOFFLOAD, TUN_F_CSUM_TSO | TUN_F_USO) >= 0) {
    return { csum: true, tso: true, uso: true }
  }
  attempt(ioctlValue(fd, TUNSETOFFLOAD, TUN_F_CSUM_TSO), 'turn offloads on')
  return { csum: true, tso: true, uso: false }
}

function attempt(result: number, what: string): void {
  if (result < 0) throw new StackError('syscall', `${what}: ${errnoName(errno())}`)
}
