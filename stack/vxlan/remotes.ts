/**
 * The other nodes of one overlay network, by the underlay's numbers. A node is known while it takes
 * part in the network, or while a station is told to be there; what it sends is taken as long.
 */
import { type Address, formatAddress, sameAddress } from '../address.ts'
import { StackError } from '../errors.ts'
import { BRIDGE_PORTS_MAX } from '../eth/fdb.ts'
import type { Mac } from '../eth/mac.ts'
import * as udp from '../ip/udp.ts'
import type { Output, Packet } from '../packet.ts'
import type { Underlay } from '../udp/underlay.ts'
import * as vxlan from './header.ts'

/** Numbers of peers are below it: the FDB counts by them. */
export const TUNNEL_PEERS_MAX: number = BRIDGE_PORTS_MAX

/** Another node, as this network knows it. Its output lives as long as it is known. */
export class Remote {
  readonly number: number
  readonly address: Address
  readonly output: Output
  /** Takes part in the network: gets what is flooded. */
  member = false
  /** Stations that were told to be there. */
  stations = 0

  constructor(number: number, address: Address, output: (packet: Packet, number: number) => void) {
    this.number = number
    this.address = address
    this.output = (packet) => output(packet, number)
  }
}

/** For listings. */
export interface TunnelStation {
  readonly mac: Mac
  readonly vtep: Address
  /** Told by the control plane; else learned. */
  readonly static: boolean
  readonly ageMs: number
}

export interface TunnelPeer {
  readonly vtep: Address
  readonly member: boolean
  readonly stations: number
  readonly pathMtuBytes: number
}

export interface RemotesOptions {
  readonly underlay: Underlay
  readonly udpPort: number
  /** Takes a packet to the peer with this number. */
  readonly send: (packet: Packet, number: number) => void
  /** A node is known no more. */
  readonly gone: (number: number) => void
}

export class Remotes {
  /** Who gets what is flooded; replaced, never changed in place. */
  members: readonly Remote[] = []
  /** Undefined: it is sent to each node. */
  group: Remote | undefined = undefined
  readonly #options: RemotesOptions
  readonly #all: (Remote | undefined)[] = []

  constructor(options: RemotesOptions) {
    this.#options = options
  }

  at(number: number): Remote | undefined {
    return this.#all[number]
  }

  list(): Remote[] {
    return this.#all.filter((remote) => remote !== undefined)
  }

  /** False: it took part already. @throws StackError `exhausted`. */
  join(vtep: Address): boolean {
    const remote = this.acquire(vtep)
    if (remote.member) return false
    remote.member = true
    this.members = [...this.members, remote]
    return true
  }

  /** Idempotent. */
  leave(vtep: Address): void {
    const remote = this.#find(vtep)
    if (remote === undefined || !remote.member) return
    remote.member = false
    this.members = this.members.filter((other) => other !== remote)
    this.release(remote)
  }

  setGroup(group: Address | undefined): void {
    const before = this.group
    this.group = group && this.#make(group)
    if (before !== undefined) this.#options.underlay.removePeer(before.number)
  }

  /** The node there; {@link release} it if it is not used after all. @throws `exhausted`. */
  acquire(vtep: Address): Remote {
    const known = this.#find(vtep)
    if (known !== undefined) return known
    const remote = this.#make(vtep)
    this.#all[remote.number] = remote
    return remote
  }

  /** Forget it if nothing needs it. */
  release(remote: Remote): void {
    const { number, member, stations } = remote
    if (member || stations > 0 || this.#all[number] !== remote) return
    this.#all[number] = undefined
    this.#options.gone(number)
    this.#options.underlay.removePeer(number)
  }

  /** Give all peers back. */
  close(): void {
    const { underlay } = this.#options
    for (const { number } of this.list()) underlay.removePeer(number)
    this.#all.length = 0
    this.members = []
    this.setGroup(undefined)
  }

  #find(vtep: Address): Remote | undefined {
    return this.#all.find((remote) => remote && sameAddress(remote.address, vtep))
  }

  #make(address: Address): Remote {
    const { underlay, udpPort, send } = this.#options
    const number = underlay.addPeer({ address, udpPort })
    if (number < TUNNEL_PEERS_MAX) return new Remote(number, address, send)
    underlay.removePeer(number)
    const text = `${formatAddress(address)}: more than ${TUNNEL_PEERS_MAX} tunnel ends`
    throw new StackError('exhausted', text)
  }
}

/** If the underlay leaves a packet's checksum open for this peer, its VXLAN header says where. */
export function tellOpen(mem: Uint8Array, packet: Packet, underlay: Underlay, peer: number): void {
  const frame = packet.head + vxlan.HEADER_BYTES
  if (!underlay.leavesOpen(peer, packet, frame)) return
  const kind = packet.csumOffset === udp.CHECKSUM ? vxlan.Remote.Udp : 0
  vxlan.putRemoteChecksum(mem, packet.head, kind | ((packet.csumStart - frame) >> 1))
}
