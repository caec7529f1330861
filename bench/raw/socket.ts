/**
 * A packet socket (packet(7)) for TCP segments of one port, read from a ring in memory that the
 * kernel fills (PACKET_RX_RING, TPACKET_V2) and written by `sendmmsg`, a batch a system call. So a
 * frame that is received costs no system call at all while others wait, and one that is sent costs
 * a part of one.
 *
 * A filter (classic BPF, in the kernel) lets the segments of the port through and nothing else.
 * The interface's own kernel sees them as well, and must be kept from answering: see `silence` in
 * ../netns.ts. What we send skips the queueing discipline. A frame that the interface refuses is
 * lost, as on a wire, and counted.
 *
 * Received frames may lack their checksum, where the sender left that to an interface that never
 * does it; frames that we send are complete.
 */
import { check, mapFile, mapMemory, setOption, socket, syscall6 } from '../../stack/native/libc.ts'
import { attachFilter, bind } from '../../stack/native/packet_socket.ts'

const [SYS_POLL, SYS_SENDMMSG] = [7, 307] as const
const AF_PACKET = 17
const SOCK_RAW_NONBLOCK = 3 | 0x800
const SOL_SOCKET = 1
const SO_SNDBUFFORCE = 32
const SOL_PACKET = 263
const [PACKET_RX_RING, PACKET_VERSION] = [5, 10] as const
const [PACKET_QDISC_BYPASS, PACKET_IGNORE_OUTGOING] = [20, 23] as const
const TPACKET_V2 = 1
const POLLIN = 1

/** Frames that wait to be read: many more than there are connections at once. */
const RING_FRAMES = 8192
/** A header of the ring's and 170 octets of the frame: no segment here is longer. */
const SLOT_BYTES = 256
const BLOCK_BYTES = 1 << 16
const [STATUS_KERNEL, STATUS_USER] = [0, 1] as const
/** struct tpacket2_hdr: status, length, octets here, offset of the frame. */
const [CAPTURED_AT, FRAME_AT] = [8, 12] as const

/** Frames a `sendmmsg`; those of one sweep over the ring are sent together. */
const BATCH = 64
/** From one frame to be sent to the next. */
export const SEND_BYTES = 64
const MESSAGE_BYTES = 64
const IOVEC_BYTES = 16
const SEND_BUFFER_BYTES = 8 << 20

/** Whether segments are known by the port that they go to, or that they come from. */
export type PortSide = 'to' | 'from'

export class RawSocket {
  /** The ring, where received frames are. */
  readonly ring: Uint8Array
  /** Frames to be sent, each of {@link SEND_BYTES}. */
  readonly out: Uint8Array
  refused = 0
  readonly #fd: number
  readonly #status: Int32Array
  readonly #lengths: Uint32Array
  readonly #iovecAt: number
  readonly #messages: number
  readonly #poll: number
  #slot = 0
  #queued = 0

  /** Precondition: the process is in the interface's namespace and has CAP_NET_RAW. */
  constructor(index: number, side: PortSide, port: number) {
    this.#fd = check(socket(AF_PACKET, SOCK_RAW_NONBLOCK, 0), 'packet socket')
    setFilter(this.#fd, side, port)
    setOption(this.#fd, SOL_PACKET, PACKET_VERSION, TPACKET_V2)
    const ringBytes = RING_FRAMES * SLOT_BYTES
    const request = Int32Array.of(BLOCK_BYTES, ringBytes / BLOCK_BYTES, SLOT_BYTES, RING_FRAMES)
    setOption(this.#fd, SOL_PACKET, PACKET_RX_RING, request)
    setOption(this.#fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    setOption(this.#fd, SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    setOption(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
    const ring = mapFile(ringBytes, this.#fd, 0).buffer
    this.ring = new Uint8Array(ring)
    this.#status = new Int32Array(ring)

    const frames = BATCH * SEND_BYTES
    const iovecs = BATCH * IOVEC_BYTES
    const messages = BATCH * MESSAGE_BYTES
    const { buffer, address } = mapMemory(frames + iovecs + messages + 8)
    this.out = new Uint8Array(buffer, 0, frames)
    this.#lengths = new Uint32Array(buffer)
    this.#iovecAt = frames
    this.#messages = address + frames + iovecs
    this.#poll = this.#messages + messages
    const view = new DataView(buffer)
    for (let i = 0; i < BATCH; i++) {
      const iovec = frames + i * IOVEC_BYTES
      view.setBigUint64(iovec, BigInt(address + i * SEND_BYTES), true)
      const message = frames + iovecs + i * MESSAGE_BYTES
      view.setBigUint64(message + 16, BigInt(address + iovec), true)
      view.setBigUint64(message + 24, 1n, true)
    }
    view.setInt32(frames + iovecs + messages, this.#fd, true)
    view.setInt16(frames + iovecs + messages + 4, POLLIN, true)
    bind(this.#fd, index)
  }

  /** Sleep until a frame is there, or the time is over. */
  wait(timeoutMs: number): void {
    if (this.next() < 0) syscall6(SYS_POLL, this.#poll, 1, timeoutMs, 0, 0)
  }

  /** Offset in {@link ring} of the frame that is next, or -1. It stays until {@link release}. */
  next(): number {
    const at = this.#slot * SLOT_BYTES
    if ((Atomics.load(this.#status, at >>> 2) & STATUS_USER) === 0) return -1
    return at + (this.ring[at + FRAME_AT]! | (this.ring[at + FRAME_AT + 1]! << 8))
  }

  /** Octets of the frame that {@link next} told. */
  get bytes(): number {
    return this.#status[(this.#slot * SLOT_BYTES + CAPTURED_AT) >>> 2]!
  }

  /** Give the frame that {@link next} told back to the kernel. */
  release(): void {
    Atomics.store(this.#status, (this.#slot * SLOT_BYTES) >>> 2, STATUS_KERNEL)
    this.#slot = (this.#slot + 1) % RING_FRAMES
  }

  /** Offset in {@link out} for a frame to be written, which {@link queue} then takes. */
  get room(): number {
    return this.#queued * SEND_BYTES
  }

  /** The frame at {@link room} has so many octets and is to be sent. */
  queue(bytes: number): void {
    this.#lengths[(this.#iovecAt + this.#queued * IOVEC_BYTES + 8) >>> 2] = bytes
    if (++this.#queued === BATCH) this.flush()
  }

  /** Send what is queued. */
  flush(): void {
    for (let sent = 0; sent < this.#queued; ) {
      const message = this.#messages + sent * MESSAGE_BYTES
      const count = syscall6(SYS_SENDMMSG, this.#fd, message, this.#queued - sent, 0, 0)
      if (count > 0) {
        sent += count
        continue
      }
      this.refused++
      sent++
    }
    this.#queued = 0
  }
}

/** Classic BPF: load a byte, a half, X from the IPv4 header's length, a half at X; jump; return. */
const [LDB, LDH, LDXMSH, LDHX, JEQ, RET] = [0x30, 0x28, 0xb1, 0x48, 0x15, 0x06]

/** IPv4, TCP, and the port on its side. Fragments do not occur. */
function setFilter(fd: number, side: PortSide, port: number): void {
  attachFilter(fd, [
    [LDH, 0, 0, 12],
    [JEQ, 0, 6, 0x0800],
    [LDB, 0, 0, 23],
    [JEQ, 0, 4, 6],
    [LDXMSH, 0, 0, 14],
    [LDHX, 0, 0, side === 'from' ? 14 : 16],
    [JEQ, 0, 1, port],
    [RET, 0, 0, SLOT_BYTES],
    [RET, 0, 0, 0],
  ])
}
