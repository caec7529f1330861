/** Tunnel ends on one underlay in memory; what comes out of their tunnels ends in lists. */
import { expect } from 'vitest'
import { type Address, parseAddress } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { DROP_COUNT, DROP_NAMES, type DropName } from '../../stack/drop.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { MemoryNet } from '../../stack/udp/memory_net.ts'
import type { MemoryUnderlay } from '../../stack/udp/memory_underlay.ts'
import type { Tunnel, TunnelOptions } from '../../stack/vxlan/tunnel.ts'
import { Vtep } from '../../stack/vxlan/vtep.ts'

export class VtepLab {
  readonly pool: Pool = new Pool({ smallCount: 256, largeCount: 16, checked: true })
  readonly clock: VirtualClock = new VirtualClock()
  readonly net: MemoryNet
  readonly vteps: Vtep[] = []
  readonly #underlays: MemoryUnderlay[] = []
  readonly #received = new Map<Tunnel, string[]>()

  constructor(count: number, joins = false) {
    this.net = new MemoryNet({ clock: this.clock, random: new Random(3) })
    for (let i = 1; i <= count; i++) {
      const address = parseAddress(`10.200.0.${i}`)
      const { pool } = this
      const underlay = this.net.open({ pool, address, udpPort: 4789, joins })
      this.#underlays.push(underlay)
      this.vteps.push(new Vtep({ pool, underlay }))
    }
  }

  /** A tunnel at end `number`, with these ends as its members. */
  open(number: number, members: readonly number[], o: Partial<TunnelOptions> = {}): Tunnel {
    const { clock, pool } = this
    const tunnel = this.vteps[number - 1]!.open({ name: 't', clock, seed: 1, vni: 42, ...o })
    for (const member of members) tunnel.addMember(this.address(member))
    this.#received.set(tunnel, [])
    tunnel.output = (packet) => {
      const { head, len } = packet
      this.#received
        .get(tunnel)!
        .push(Buffer.from(pool.mem.slice(head, head + len)).toString('hex'))
      pool.free(packet)
    }
    return tunnel
  }

  address(number: number): Address {
    return parseAddress(`10.200.0.${number}`)
  }

  underlay(number: number): MemoryUnderlay {
    return this.#underlays[number - 1]!
  }

  send(tunnel: Tunnel, frame: Uint8Array, facts: Partial<Packet> = {}): void {
    tunnel.transmit(this.packet(frame, facts))
    this.settle()
  }

  packet(bytes: Uint8Array, facts: Partial<Packet> = {}): Packet {
    const packet = this.pool.alloc(bytes.length)!
    this.pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    Object.assign(packet, facts)
    return packet
  }

  /** A datagram from one end to another, whatever is in it. */
  inject(from: number, to: number, bytes: Uint8Array, tos = 0): void {
    const underlay = this.underlay(from)
    const peer = underlay.addPeer({ address: this.address(to), udpPort: 4789 })
    underlay.send(this.packet(bytes), peer, 0, tos)
    underlay.removePeer(peer)
    this.settle()
  }

  settle(): void {
    while (this.#underlays.reduce((sum, underlay) => sum + underlay.poll(64), 0) > 0);
  }

  /** Frames that came out since the last call, as hexadecimal digits. */
  out(tunnel: Tunnel): string[] {
    return this.#received.get(tunnel)!.splice(0)
  }

  drops(reason: DropName): number {
    return this.pool.counters.dropTotal(DROP_NAMES.indexOf(reason))
  }

  allDrops(): number {
    let total = 0
    for (let reason = 0; reason < DROP_COUNT; reason++) {
      total += this.pool.counters.dropTotal(reason)
    }
    return total
  }

  finish(): void {
    for (const vtep of this.vteps) vtep.close()
    for (const underlay of this.#underlays) underlay.close()
    expect(this.pool.leaks()).toEqual([])
    expect(this.clock.pending).toBe(0)
    expect(this.pool.counters.acquirePort()).toBe(1)
  }
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
