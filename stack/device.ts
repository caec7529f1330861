/**
 * A device is an edge of the graph: a TAP, an in-memory cable, a capture file. Bursts happen here
 * and nowhere else: `poll` reads up to a budget, `transmit` queues, `flush` hands the queue over.
 *
 * One breath: poll every device that is ready, run each packet to completion, flush every device.
 * An **engine** is what several devices share to talk to the kernel (an io_uring, an epoll set);
 * it finds out which of its devices are ready. Devices without one are asked every breath.
 */
import type { Output, Packet, Pool } from './packet.ts'

/** What a device takes without help from us. */
export interface Offload {
  /** Partial checksums. */
  readonly csum: boolean
  /** TCP super-frames, IPv4 and IPv6. */
  readonly tso: boolean
  /** UDP super-frames. */
  readonly uso: boolean
}

export const NO_OFFLOAD: Offload = { csum: false, tso: false, uso: false }

/** What opening an interface of the kernel's gave: a descriptor and what may go through it. */
export interface Handle {
  readonly fd: number
  readonly offload: Offload
}

export interface Device {
  readonly name: string
  /** What kind it is, for people: `tap`, `cable`, `pcapng`. */
  readonly kind: string
  /** Its number in the node's counters. */
  readonly port: number
  /** Largest IP packet, octets. As in Linux, the Ethernet header is not counted. */
  readonly mtuBytes: number
  readonly offload: Offload
  /** Receiver of every frame that `poll` reads. */
  output: Output
  /** Called once if the device is lost from outside (its namespace died, its file ended). */
  onLost: (why: string) => void
  /** Deliver at most `budget` frames to `output`; return how many. */
  poll(budget: number): number
  /** Send a frame. Takes ownership; counts it, or drops it with a reason. */
  transmit(packet: Packet): void
  /** For traces: the drop reason that `transmit` would have for this frame now, or -1. */
  refusal(packet: Packet): number
  flush(): void
  /** Give everything back. Packets still queued are freed. Idempotent. */
  close(): void
}

/** Frames read from one device before the next has its turn. */
export const BURST = 64

/**
 * The way into a device for elements: a traced packet ends here, as it would in the device; any
 * other is transmitted.
 */
export function sender(pool: Pool, device: Device): Output {
  return (packet) => {
    if (packet.traced) endTrace(pool, device, packet)
    else device.transmit(packet)
  }
}

function endTrace(pool: Pool, device: Device, packet: Packet): void {
  const refusal = device.refusal(packet)
  if (refusal >= 0) {
    const { name, mtuBytes } = device
    pool.trace?.step(`device ${name}`, `does not take this frame; its MTU is ${mtuBytes}`)
    return pool.drop(packet, refusal)
  }
  pool.trace?.end('transmitted', device.name)
  pool.free(packet)
}
