/**
 * A device behind a descriptor of the kernel's that carries one frame a read or write, through an
 * {@link Engine}: a TAP (tap.ts) or a packet socket (af_packet.ts).
 *
 * Every frame has a virtio-net header in front, which lies in the packet's headroom: received
 * facts go into the packet, sent ones are written back just before the frame. So a bridged
 * super-frame passes without a look at its payload.
 *
 * The other end may vanish at any time (its namespace is deleted). The engine then reports the
 * channel lost; the device says so once through `onLost` and refuses further frames.
 */
import { Count } from '../counters.ts'
import type { Device, Handle, Offload } from '../device.ts'
import { DropReason } from '../drop.ts'
import type { Channel, Engine } from '../engine.ts'
import { closeAway, Errno, errnoName, isWritable } from '../native/libc.ts'
import { type Output, type Packet, type Pool, SMALL_FRAME_BYTES } from '../packet.ts'
import { putFacts, readFacts, VNET_BYTES } from '../vnet.ts'
import { egressRefusal } from './egress.ts'
import * as eth from './frame.ts'
import { pushTag } from './vlan.ts'

/** What a frame may exceed the MTU by: its header and one tag. */
const FRAME_EXTRA_BYTES: number = eth.HEADER_BYTES + eth.TAG_BYTES

export interface VnetDeviceOptions {
  readonly pool: Pool
  readonly engine: Engine
  readonly kind: string
  /** Name of the device, for listings. */
  readonly name: string
  readonly mtuBytes: number
  /** The device owns the descriptor from now on. */
  readonly handle: Handle
  /** VLAN whose tag frames get where they leave; 0 or left out: none. */
  readonly vid?: number
}

export class VnetDevice implements Device, Channel {
  readonly name: string
  readonly kind: string
  readonly port: number
  readonly mtuBytes: number
  readonly offload: Offload
  readonly fd: number
  readonly large: boolean
  output: Output
  onLost: (why: string) => void = () => {}
  readonly #pool: Pool
  readonly #engine: Engine
  readonly #vid: number
  #id = -1
  #open = true

  constructor({ pool, engine, kind, name, mtuBytes, handle, vid = 0 }: VnetDeviceOptions) {
    this.#pool = pool
    this.#engine = engine
    this.#vid = vid
    this.kind = kind
    this.name = name
    this.mtuBytes = mtuBytes
    this.fd = handle.fd
    this.offload = handle.offload
    this.large = handle.offload.tso || mtuBytes + FRAME_EXTRA_BYTES > SMALL_FRAME_BYTES
    this.port = pool.counters.acquirePort()
    this.output = (packet) => pool.drop(packet, DropReason.DeviceDown)
  }

  /** Begin to receive: once `output` and the interface are as they should be. */
  start(): void {
    if (this.#id < 0) this.#id = this.#engine.add(this)
  }

  /** Polls the engine, so frames of its other devices are delivered too. */
  poll(budget: number): number {
    return this.#id < 0 ? 0 : this.#engine.poll(budget)
  }

  flush(): void {
    this.#engine.flush()
  }

  transmit(packet: Packet): void {
    if (this.#id < 0) return this.#pool.drop(packet, DropReason.DeviceDown)
    const refusal = egressRefusal(this.#pool.mem, packet, this)
    if (refusal >= 0) return this.#pool.drop(packet, refusal)
    if (this.#vid !== 0) pushTag(this.#pool.mem, packet, this.#vid)
    const at = packet.head - VNET_BYTES
    putFacts(this.#pool.mem, at, packet)
    this.#pool.counters.transmitted(this.port, packet.len)
    this.#engine.write(this.#id, packet, at, packet.len + VNET_BYTES)
  }

  /** As {@link transmit}; only the kernel knows whether the interface was set down. */
  refusal(packet: Packet): number {
    if (this.#id < 0) return DropReason.DeviceDown
    const refusal = egressRefusal(this.#pool.mem, packet, this)
    if (refusal >= 0) return refusal
    return isWritable(this.fd) ? -1 : DropReason.DeviceDown
  }

  received(packet: Packet, bytes: number): void {
    const header = packet.head
    packet.head = header + VNET_BYTES
    packet.len = bytes - VNET_BYTES
    packet.ingress = this.port
    this.#pool.counters.received(this.port, packet.len)
    if (packet.len < eth.HEADER_BYTES) return this.#pool.drop(packet, DropReason.FrameRunt)
    if (!readFacts(this.#pool.mem, header, packet)) {
      return this.#pool.drop(packet, DropReason.FrameOffloadBad)
    }
    this.output(packet)
  }

  refused(packet: Packet, code: number): void {
    const { counters } = this.#pool
    counters.bump(this.port, Count.TxErrors)
    this.#pool.drop(packet, -code === Errno.Again ? DropReason.QueueFull : DropReason.DeviceDown)
  }

  starved(): void {
    this.#pool.counters.bump(this.port, Count.RxNoBuffer)
  }

  lost(code: number): void {
    this.#stop()
    this.onLost(-code === Errno.BadFd ? GONE : errnoName(-code))
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#stop()
    // Off this thread: the kernel waits some 20 ms for readers before a TAP is gone.
    closeAway(this.fd)
    this.#pool.counters.releasePort(this.port)
  }

  #stop(): void {
    if (this.#id < 0) return
    this.#engine.remove(this.#id)
    this.#id = -1
  }
}

/** What the kernel says by EBADFD. */
const GONE = 'the interface or its namespace is gone'
