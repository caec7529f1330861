/** Packet memory that the kernel can reach: one anonymous mapping. See packet.ts. */
import type { PacketMemory } from '../packet.ts'
import { mapMemory } from './libc.ts'

/** Pages are taken as slots are first used, so a large pool costs an idle node nothing. */
export function mapSlab(bytes: number): PacketMemory {
  const { buffer, address } = mapMemory(bytes)
  return { bytes: new Uint8Array(buffer), address }
}
