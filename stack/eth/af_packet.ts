/**
 * An interface that is there already, such as the host's Ethernet card, as a device: a station of
 * its own MAC beside the host, through a packet socket (packet_socket.ts). Nothing about the
 * interface is changed; the frames of the host and of VLANs are not seen.
 */
import type { Engine } from '../engine.ts'
import { openPacketSocket } from '../native/packet_socket.ts'
import type { Pool } from '../packet.ts'
import type { Mac } from './mac.ts'
import { VnetDevice } from './vnet_device.ts'

export interface PacketDeviceOptions {
  readonly pool: Pool
  readonly engine: Engine
  /** Number of the interface, in the namespace that the thread is in. */
  readonly interfaceIndex: number
  /** The station that it is. */
  readonly mac: Mac
  /** Name of the device, for listings. */
  readonly name: string
  readonly mtuBytes: number
}

/** @throws StackError if the interface cannot be opened. */
export function packetDevice(options: PacketDeviceOptions): VnetDevice {
  const { interfaceIndex, mac, ...rest } = options
  const handle = openPacketSocket(interfaceIndex, mac.hi, mac.lo)
  return new VnetDevice({ ...rest, kind: 'af_packet', handle })
}
