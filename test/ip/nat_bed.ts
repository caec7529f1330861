/**
 * A router with address translation and nothing that keeps what it sends: for tests that count
 * allocations over half a million packets.
 */
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Conntrack } from '../../stack/ip/conntrack.ts'
import type { HookParts } from '../../stack/ip/hooks.ts'
import { Nat } from '../../stack/ip/nat.ts'
import { Router } from '../../stack/ip/router.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { HOST_MAC } from './lab.ts'

export interface NatBed {
  readonly pool: Pool
  readonly clock: VirtualClock
  readonly conntrack: Conntrack
  readonly router: Router
  readonly nat: Nat
  readonly close: () => void
}

export function natBed(): NatBed {
  const pool = new Pool({ smallCount: 8, largeCount: 8 })
  const clock = new VirtualClock()
  const random = new Random(5)
  const conntrack = new Conntrack({ pool, clock, seed: 1, entriesMax: 5000 })
  let nat: Nat | undefined
  const hooks = (parts: HookParts): Nat => {
    nat = new Nat({ pool, clock, random, conntrack, ...parts })
    return nat
  }
  const router = new Router({ pool, clock, random, hooks })
  const close = (): void => {
    nat!.close()
    conntrack.close()
    router.close()
  }
  return { pool, clock, conntrack, router, nat: nat!, close }
}

/** Everything goes out by `up`, to neighbors that are known. */
export function leadOut({ router }: NatBed, up: RouterInterface): void {
  for (const [prefix, via] of [
    ['0.0.0.0/0', '203.0.113.1'],
    ['::/0', '2001:db8::1'],
  ] as const) {
    const address = parseAddress(via)
    router.neighbors.setPermanent(up.link, address, HOST_MAC)
    router.addRoute({ prefix: parsePrefix(prefix), kind: 'static', via: address })
  }
}

/** A packet of these octets, written one by one so that no view of them is made. */
export function packetOf(pool: Pool, bytes: Uint8Array): Packet {
  const packet = pool.alloc(bytes.length)!
  for (let at = 0; at < bytes.length; at++) pool.mem[packet.head + at] = bytes[at]!
  packet.len = bytes.length
  return packet
}
