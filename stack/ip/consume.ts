/** How packets end that the node itself made use of. */
import { DropReason } from '../drop.ts'
import type { Packet, Pool } from '../packet.ts'

/** End a packet that the node itself used: counted as `delivered`. `what`: for who traces it. */
export function consume(pool: Pool, packet: Packet, what: string): void {
  if (!packet.traced) return pool.drop(packet, DropReason.Delivered)
  pool.trace?.end('consumed', what)
  pool.free(packet)
}
