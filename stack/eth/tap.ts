/**
 * A TAP as a device: frames of an interface that lives as long as its descriptor (tun.ts). Closing
 * is quick for us; the interface itself disappears a moment later.
 */
import type { Engine } from '../engine.ts'
import { openTap } from '../native/tun.ts'
import type { Pool } from '../packet.ts'
import { VnetDevice } from './vnet_device.ts'

export interface TapOptions {
  readonly pool: Pool
  readonly engine: Engine
  /** Name of the interface, in the namespace that the thread is in. */
  readonly interfaceName: string
  /** Name of the device, for listings. */
  readonly name: string
  readonly mtuBytes: number
  /** Ask the kernel for super-frames and partial checksums. */
  readonly offload: boolean
}

/** @throws StackError if the interface cannot be made. */
export function tapDevice(options: TapOptions): VnetDevice {
  const { interfaceName, offload, ...rest } = options
  return new VnetDevice({ ...rest, kind: 'tap', handle: openTap(interfaceName, offload) })
}
