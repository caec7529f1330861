/** Whether a device can carry a frame: one rule for every device that sends (TAPs and cables). */
import type { Offload } from '../device.ts'
import { DropReason } from '../drop.ts'
import { GsoType, type Packet } from '../packet.ts'
import { EtherType, HEADER_BYTES, TAG_BYTES, type } from './frame.ts'

/**
 * The drop reason for a frame that the device cannot send, or -1. A plain frame must fit the MTU,
 * a VLAN tag not counted (as in Linux). Work left to the device must be work that it offers, and
 * what is said of it must agree with itself and the length, as a TAP asks of what it reads.
 */
export function egressRefusal(
  mem: Uint8Array,
  { head, len, gsoType, gsoSize, csumStart, csumOffset }: Packet,
  { mtuBytes, offload }: { readonly mtuBytes: number; readonly offload: Offload },
): number {
  if (csumStart !== 0) {
    if (!offload.csum) return DropReason.FrameOffloadBad
    const isInside = csumStart >= head && csumStart + csumOffset + 2 <= head + len
    if (!isInside) return DropReason.FrameOffloadBad
  }
  if ((gsoType === GsoType.None) !== (gsoSize === 0)) return DropReason.FrameOffloadBad
  if (gsoType !== GsoType.None) {
    if (csumStart === 0) return DropReason.FrameOffloadBad
    const offered = gsoType === GsoType.Udp ? offload.uso : offload.tso
    return offered ? -1 : DropReason.FrameOffloadBad
  }
  const over = len - HEADER_BYTES - mtuBytes
  if (over <= 0) return -1
  return type(mem, head) === EtherType.Vlan && over <= TAG_BYTES ? -1 : DropReason.FrameOversize
}
