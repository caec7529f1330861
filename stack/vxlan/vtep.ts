/**
 * The tunnel end of a node (RFC 7348 §3): the overlay networks over one UDP socket of the host.
 *
 * ```text
 *   underlay -> [apart, or joined to a super-frame] -> header -> tunnel by VNI -> its bridge
 *   tunnel   -> underlay
 * ```
 *
 * All that a datagram says is checked before its frame is seen by a bridge: that there is a header
 * with a VNI, that this node takes part in that network, and, in the tunnel, that its sender does.
 */
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { StackError } from '../errors.ts'
import type { Packet, Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import type { Underlay } from '../udp/underlay.ts'
import { Coalescer } from './coalesce.ts'
import * as vxlan from './header.ts'
import { Hello } from './hello.ts'
import type { Joiner } from './split.ts'
import { Tunnel, type TunnelOptions } from './tunnel.ts'

/** Overlay networks of one node: each has a bridge and a leg of the router. */
const TUNNELS_MAX = 1024

export interface VtepOptions {
  readonly pool: Pool
  readonly underlay: Underlay
  /** What is done with datagrams, joined or not. Default: see coalesce.ts. */
  readonly joiner?: Joiner
  /** For asking peers what they are (hello.ts); left out: nobody is asked. */
  readonly hello?: { readonly clock: Clock; readonly random: Random }
}

export class Vtep {
  readonly underlay: Underlay
  readonly #pool: Pool
  readonly #joiner: Joiner
  readonly #hello: Hello | undefined
  readonly #tunnels = new Map<number, Tunnel>()

  /** `onDatagram` and `onPeer` of the underlay are taken over. */
  constructor({ pool, underlay, joiner, hello }: VtepOptions) {
    this.underlay = underlay
    this.#pool = pool
    this.#joiner = joiner ?? new Coalescer({ pool, underlay }).join
    const asks = hello !== undefined && underlay.mayLeaveOpen
    this.#hello = asks ? new Hello({ pool, underlay, ...hello }) : undefined
    underlay.onDatagram = (packet, peer, segmentBytes, tos) =>
      this.#joiner(packet, segmentBytes, peer, tos, this.#receive)
  }

  /** A tunnel for one more network. @throws StackError `exists`, `exhausted`, `bad-argument`. */
  open(options: Omit<TunnelOptions, 'underlay' | 'pool'>): Tunnel {
    const { vni } = options
    if (!Number.isInteger(vni) || vni < 1 || vni > vxlan.VNI_MAX) {
      throw new StackError('bad-argument', `a VNI is from 1 to ${vxlan.VNI_MAX}, not ${vni}`)
    }
    const other = this.#tunnels.get(vni)
    if (other !== undefined) {
      throw new StackError('exists', `VNI ${vni} is that of network ${other.name}`)
    }
    if (this.#tunnels.size >= TUNNELS_MAX) {
      throw new StackError('exhausted', `more than ${TUNNELS_MAX} overlay networks`)
    }
    const tunnel = new Tunnel({ ...options, pool: this.#pool, underlay: this.underlay })
    this.#tunnels.set(vni, tunnel)
    return tunnel
  }

  /** Idempotent. */
  remove(tunnel: Tunnel): void {
    if (this.#tunnels.get(tunnel.vni) !== tunnel) return
    this.#tunnels.delete(tunnel.vni)
    tunnel.close()
  }

  tunnels(): Tunnel[] {
    return [...this.#tunnels.values()]
  }

  /** The underlay is the caller's. Idempotent. */
  close(): void {
    for (const tunnel of this.tunnels()) this.remove(tunnel)
    this.#hello?.close()
    const pool = this.#pool
    this.underlay.onDatagram = (packet) => pool.drop(packet, DropReason.DeviceDown)
  }

  readonly #receive = (packet: Packet, peer: number, tos: number): void => {
    const { mem } = this.#pool
    if (!vxlan.isHeader(mem, packet.head, packet.len)) {
      if (this.#hello !== undefined) return this.#hello.receive(packet, peer)
      return this.#pool.drop(packet, DropReason.VxlanMalformed)
    }
    const tunnel = this.#tunnels.get(vxlan.vni(mem, packet.head))
    if (tunnel === undefined) return this.#pool.drop(packet, DropReason.VxlanUnknownVni)
    tunnel.receive(packet, peer, tos)
  }
}
