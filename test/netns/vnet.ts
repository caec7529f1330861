/** Offload facts of a test's frames as the kernel has them: virtio-net headers. */
import type { FrameFacts, SentFrame } from '../conformance/device.ts'
import type { PacketSocket } from './packet_socket.ts'

export function vnetOf(frame: Uint8Array, facts: FrameFacts): Uint8Array {
  const vnet = new Uint8Array(10)
  if (facts.csumStart === 0) return vnet
  const view = new DataView(vnet.buffer)
  vnet[0] = 1
  vnet[1] = facts.gsoType
  const header = facts.csumOffset === 16 ? (frame[facts.csumStart + 12]! >> 4) * 4 : 8
  view.setUint16(2, facts.csumStart + header, true)
  view.setUint16(4, facts.gsoSize, true)
  view.setUint16(6, facts.csumStart, true)
  view.setUint16(8, facts.csumOffset, true)
  return vnet
}

function factsOf(vnet: Uint8Array): FrameFacts {
  const view = new DataView(vnet.buffer, vnet.byteOffset)
  const partial = (vnet[0]! & 1) === 1
  return {
    gsoType: vnet[1]!,
    gsoSize: vnet[1] === 0 ? 0 : view.getUint16(4, true),
    csumStart: partial ? view.getUint16(6, true) : 0,
    csumOffset: partial ? view.getUint16(8, true) : 0,
  }
}

/** The frames that came to the far side since the last call. */
export function framesOf(socket: PacketSocket): SentFrame[] {
  const all: SentFrame[] = []
  for (let raw = socket.receive(); raw !== undefined; raw = socket.receive()) {
    all.push({ bytes: raw.bytes, facts: factsOf(raw.vnet) })
  }
  return all
}
