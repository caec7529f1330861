/**
 * An interface that is there already, such as the host's Ethernet card, as a device: stations of
 * our own beside the host, through a packet socket (packet_socket.ts). Nothing about the interface
 * is changed; the frames of the host and of other VLANs are not seen.
 *
 * Of a VLAN it is a sub-interface, as `eth0.10` is in Linux: frames have no tag on our side, and
 * get theirs where they leave.
 */
import type { Engine } from '../engine.ts'
import { type Hearing, openPacketSocket, type Station } from '../native/packet_socket.ts'
import type { Pool } from '../packet.ts'
import type { Mac } from './mac.ts'
import { VnetDevice } from './vnet_device.ts'

export interface PacketDeviceOptions extends Hearing {
  readonly pool: Pool
  readonly engine: Engine
  /** Number of the interface, in the namespace that the thread is in, and its MAC. */
  readonly interfaceIndex: number
  readonly interfaceMac: Mac
  /** Name of the device, for listings. */
  readonly name: string
  readonly mtuBytes: number
}

export interface PacketDevice {
  readonly device: VnetDevice
  /** Exchange the stations that it is. @throws StackError. */
  readonly setStations: (stations: readonly Station[]) => void
}

/** @throws StackError if the interface cannot be opened. */
export function packetDevice(options: PacketDeviceOptions): PacketDevice {
  const { interfaceIndex, interfaceMac, vid, stations, everything, ...rest } = options
  const hearing = { vid, stations, everything }
  const { setStations, ...handle } = openPacketSocket(interfaceIndex, interfaceMac, hearing)
  return { device: new VnetDevice({ ...rest, vid, kind: 'af_packet', handle }), setStations }
}
