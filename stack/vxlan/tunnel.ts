/**
 * One overlay network's tunnel: a port of its bridge that leads to the other nodes (RFC 7348 §4).
 *
 * ```text
 *   bridge -> transmit: gateway? -> station known? ─ yes ─> its node's output ─┐
 *                                     └ no, or a group ──> every node's output ┤
 *          fits the path? else tell its sender -> push header, outer TOS -> underlay
 *   vtep   -> receive: from a node of this network? frame? source? ECN
 *                -> [flow cache] -> bridge
 * ```
 *
 * It is one port, so what comes out of it never goes into it again (split horizon). Which node a
 * station is at is told by the control plane ({@link Tunnel.addStation}); learning it from what
 * comes out is off unless asked for, since a forged source then draws traffic; what was told wins.
 * What nobody knows is sent to every node of the network, once each (head-end replication), or
 * once to a multicast group of the underlay.
 *
 * Each node's output lives as long as the node is known, and is what the flow cache calls; marks
 * and header are put on after the cache, and taken off before it.
 *
 * Limits: {@link FDB_MAX} stations; as many nodes as remotes.ts says.
 */
import { type Address, formatAddress } from '../address.ts'
import { i32, u16 } from '../bytes.ts'
import type { Clock } from '../clock.ts'
import { DROP_NAMES, DropReason } from '../drop.ts'
import { AGE_MS, FDB_MAX, Fdb } from '../eth/fdb.ts'
import * as eth from '../eth/frame.ts'
import { Audience, type GroupFilter, GroupRole, NO_PORT } from '../eth/group_filter.ts'
import type { Mac } from '../eth/mac.ts'
import { NOT_HEARD } from '../flow_notes.ts'
import { NEW_MS } from '../ip/group_state.ts'
import { type Output, type Packet, type Pool, pull, push } from '../packet.ts'
import type { Underlay } from '../udp/underlay.ts'
import * as ecn from './ecn.ts'
import { FrameSize, type TooBigTeller } from './frame_size.ts'
import { mayLeave, type SharedGateway } from './gateway.ts'
import * as vxlan from './header.ts'
import { type Remote, Remotes, type TunnelPeer, type TunnelStation, tellOpen } from './remotes.ts'
import { learn, Sources } from './sources.ts'

/** What nodes want that are new is not known yet. */
const NEW_NODE = { role: GroupRole.Reports, fastLeave: false, everyMs: NEW_MS } as const

export interface TunnelOptions {
  /** Of the network, for traces. */
  readonly name: string
  readonly pool: Pool
  readonly clock: Clock
  readonly seed: number
  readonly vni: number
  readonly underlay: Underlay
  /** Port of the remote ends. Default: the underlay's own. */
  readonly udpPort?: number
  /** Undefined: no node has a gateway, or one that is a station like any other. */
  readonly gateway?: SharedGateway
  /** Learn stations from what comes out. Default false. */
  readonly learning?: boolean
  /** Default {@link FDB_MAX}. */
  readonly stationsMax?: number
  /** Of learned stations. Default {@link AGE_MS}. */
  readonly ageMs?: number
  /** DSCP outside, 0 to 63; below 0: the inner packet's. Default 0. */
  readonly dscp?: number
  /** Carry frames with a VLAN tag (RFC 7348 §6.1). Default false. */
  readonly innerVlan?: boolean
  /** Knows which node wants which group; its ports are peers. Undefined: all get all. */
  readonly groups?: GroupFilter
  /** Octets that encryption adds to each datagram. Default 0. */
  readonly sealBytes?: number
  /** Told of frames that do not fit the path to their node. */
  readonly tooBig?: TooBigTeller
}

export class Tunnel {
  readonly name: string
  readonly vni: number
  /** Its number in the counters: of frames with their Ethernet header, nothing of the outside. */
  readonly port: number
  /** Where frames that come out go: the bridge port's input, or what is in front of it. */
  output: Output
  readonly #pool: Pool
  readonly #underlay: Underlay
  readonly #gateway: SharedGateway | undefined
  readonly #learning: boolean
  readonly #dscp: number
  readonly #innerVlan: boolean
  readonly #groups: GroupFilter | undefined
  readonly #sealed: boolean
  readonly #size: FrameSize
  readonly #stations: Fdb
  readonly #sources: Sources
  readonly #remotes: Remotes
  #closed = false

  constructor(o: TunnelOptions) {
    const { pool, clock, seed, stationsMax = FDB_MAX, ageMs = AGE_MS } = o
    this.name = o.name
    this.vni = o.vni
    this.port = pool.counters.acquirePort()
    this.output = (packet) => pool.drop(packet, DropReason.DeviceDown)
    this.#pool = pool
    this.#underlay = o.underlay
    this.#gateway = o.gateway
    this.#learning = o.learning ?? false
    this.#dscp = o.dscp ?? 0
    this.#innerVlan = o.innerVlan ?? false
    this.#groups = o.groups
    const { sealBytes = 0, underlay, tooBig: tell } = o
    this.#sealed = sealBytes > 0
    this.#size = new FrameSize({ mem: pool.mem, underlay, sealBytes, tell })
    this.#sources = new Sources({ clock, seed, gateway: o.gateway })
    const { changed } = pool.notes
    const stations = new Fdb({ clock, seed, entriesMax: stationsMax, ageMs, changed })
    this.#stations = stations
    this.#remotes = new Remotes({
      underlay: o.underlay,
      udpPort: o.udpPort ?? o.underlay.udpPort,
      send: (packet, number) => this.#send(packet, number),
      // Learned stations there go too.
      gone: (number) => {
        stations.forgetPort(number, true)
        o.groups?.removePort(number)
      },
    })
  }

  /** The node there takes part from now on. Idempotent. @throws StackError `exhausted`. */
  addMember(vtep: Address): void {
    if (!this.#remotes.join(vtep)) return
    this.#groups?.addPort(this.#remotes.members.at(-1)!.number, NEW_NODE)
    this.#pool.notes.changed()
  }

  /** No more; stations that were told to be there stay known. Idempotent. */
  removeMember(vtep: Address): void {
    this.#remotes.leave(vtep)
    this.#pool.notes.changed()
  }

  /**
   * Flood to a multicast group of the underlay instead of to each node; undefined: no more. Nodes
   * must be members all the same: others are not heard.
   */
  setGroup(group: Address | undefined): void {
    this.#remotes.setGroup(group)
    this.#pool.notes.changed()
  }

  /**
   * From now on the station is at that node, whatever frames say. Replaces what was known.
   * @throws StackError `exhausted`.
   */
  addStation(mac: Mac, vtep: Address): void {
    const remote = this.#remotes.acquire(vtep)
    const before = this.#told(mac)
    remote.stations++
    try {
      this.#stations.addStatic(0, mac, remote.number)
    } catch (error) {
      remote.stations--
      this.#remotes.release(remote)
      throw error
    }
    if (before !== undefined) this.#forgetOne(before)
    this.#pool.notes.changed()
  }

  /** Forget where a station is, told or learned. Idempotent. */
  removeStation(mac: Mac): void {
    const before = this.#told(mac)
    this.#stations.removeEntry(0, mac.hi, mac.lo | 0)
    if (before !== undefined) this.#forgetOne(before)
  }

  /** From now on the station is this node's alone. Idempotent. @throws StackError `exhausted`. */
  addOwn(mac: Mac): void {
    this.removeStation(mac)
    this.#sources.add(mac)
  }

  /** It is gone. Idempotent. */
  removeOwn(mac: Mac): void {
    this.#sources.remove(mac)
  }

  stations(): TunnelStation[] {
    return this.#stations.list().map(({ mac, port, ageMs, static: told }) => ({
      mac,
      vtep: this.#remotes.at(port)!.address,
      static: told,
      ageMs,
    }))
  }

  /** Where what goes into this output ends; undefined: nowhere. */
  vtepBehind(output: Output): Address | undefined {
    return this.#remotes.list().find((remote) => remote.output === output)?.address
  }

  /** Where a peer's tunnel ends; undefined: it is none of this network's. */
  vtepOf(peer: number): Address | undefined {
    return this.#remotes.at(peer)?.address
  }

  peers(): TunnelPeer[] {
    return this.#remotes.list().map(({ number, address: vtep, member, stations }) => ({
      vtep,
      member,
      stations,
      pathMtuBytes: this.#underlay.pathMtuBytes(number),
    }))
  }

  /** Frames from the bridge. Takes ownership. Precondition: an Ethernet header is there. */
  readonly transmit: Output = (packet) => {
    const { mem, notes } = this.#pool
    if (this.#closed) return this.#pool.drop(packet, DropReason.DeviceDown)
    if (!this.#innerVlan && eth.type(mem, packet.head) === eth.EtherType.Vlan) {
      return this.#pool.drop(packet, DropReason.VxlanInnerVlan)
    }
    if (this.#gateway !== undefined && !mayLeave(mem, packet, this.#gateway)) {
      return this.#pool.drop(packet, DropReason.VxlanGateway)
    }
    const dst = packet.head + eth.DST
    if (eth.isGroup(mem, dst)) {
      return this.#flood(packet, this.#groups?.audience(packet, 0, NO_PORT) ?? Audience.Everybody)
    }
    const entry = this.#stations.find(0, u16(mem, dst), i32(mem, dst + 2))
    if (entry < 0) return this.#flood(packet, Audience.Everybody)
    const remote = this.#remotes.at(this.#stations.port(entry))!
    if (packet.traced) this.#say(`${formatAddress(remote.address)} has the destination`)
    if (packet.recorded && !this.#stations.isStatic(entry)) {
      notes.station(packet, this.#stations, entry, NOT_HEARD)
    }
    if (packet.recorded) notes.left(packet, remote.output, this.port)
    remote.output(packet)
  }

  /**
   * A datagram of this network, its VXLAN header at the head. Takes ownership. `peer` and `tos`
   * are the underlay's.
   */
  receive(packet: Packet, peer: number, tos: number): void {
    const pool = this.#pool
    const { mem } = pool
    if (peer < 0 || this.#remotes.at(peer) === undefined) {
      return pool.drop(packet, DropReason.VxlanUnknownVtep)
    }
    pull(packet, vxlan.HEADER_BYTES)
    packet.ingress = this.port
    pool.counters.received(this.port, packet.len)
    if (!eth.isHeader(packet.len)) return pool.drop(packet, DropReason.FrameRunt)
    const frame = packet.head
    if (!this.#innerVlan && eth.type(mem, frame) === eth.EtherType.Vlan) {
      return pool.drop(packet, DropReason.VxlanInnerVlan)
    }
    const refusal = this.#sources.refusal(mem, frame + eth.SRC)
    if (refusal >= 0) return pool.drop(packet, refusal)
    if (!ecn.unite(mem, frame, packet.len, tos)) return pool.drop(packet, DropReason.VxlanEcn)
    if (this.#learning) learn(this.#stations, mem, frame + eth.SRC, peer)
    if (eth.isGroup(mem, frame + eth.DST)) this.#groups?.audience(packet, 0, peer)
    this.output(packet)
  }

  /** Forget all, and give the peers back. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#stations.close()
    this.#sources.close()
    this.#remotes.close()
    this.#pool.notes.changed()
    this.#pool.counters.releasePort(this.port)
  }

  /** Always one behind, so that the last gets the frame itself and not a copy. */
  #flood(packet: Packet, audience: number): void {
    const pool = this.#pool
    packet.recorded = false
    const { members, group } = this.#remotes
    if (group !== undefined) return group.output(packet)
    const groups = audience === Audience.Everybody ? undefined : this.#groups
    if (packet.traced) this.#explainFlood(audience, groups)
    let last: Remote | undefined
    for (let i = 0; i < members.length; i++) {
      const remote = members[i]!
      if (groups?.wants(audience, remote.number) === false) continue
      if (last !== undefined) this.#copyTo(last, packet)
      last = remote
    }
    if (last !== undefined) return last.output(packet)
    pool.drop(packet, groups?.unwanted(audience) ?? DropReason.VxlanNoPeer)
  }

  #copyTo(remote: Remote, packet: Packet): void {
    const pool = this.#pool
    const twin = pool.clone(packet)
    if (twin !== undefined) remote.output(twin)
    else if (packet.traced) pool.trace?.end('dropped', DROP_NAMES[DropReason.PoolEmpty]!)
    else pool.counters.dropped(this.port, DropReason.PoolEmpty)
  }

  #explainFlood(audience: number, groups: GroupFilter | undefined): void {
    const wants = ({ number }: Remote): boolean => groups?.wants(audience, number) !== false
    const { length } = this.#remotes.members.filter(wants)
    this.#say(`nobody alone has the destination: to ${length} nodes`)
  }

  #send(packet: Packet, number: number): void {
    const { mem, counters } = this.#pool
    const fits = this.#size.fits(packet, number)
    if (packet.traced) return this.#explainSend(packet, number, fits)
    counters.transmitted(this.port, packet.len)
    const inner = ecn.innerTos(mem, packet.head, packet.len)
    push(packet, vxlan.HEADER_BYTES)
    vxlan.putHeader(mem, packet.head, this.vni)
    tellOpen(mem, packet, this.#underlay, number)
    this.#underlay.send(packet, number, vxlan.HEADER_BYTES, ecn.outerTos(inner, this.#dscp))
  }

  #explainSend(packet: Packet, number: number, fits: boolean): void {
    const pool = this.#pool
    const peer = this.#underlay.peer(number)
    const to = peer === undefined ? 'nobody' : `${formatAddress(peer.address)}:${peer.udpPort}`
    const mtuBytes = this.#underlay.pathMtuBytes(number)
    this.#say(`VXLAN with VNI ${this.vni} to ${to}, whose path takes ${mtuBytes} octets`)
    if (!fits) return pool.drop(packet, DropReason.UnderlayMtu)
    const how = this.#sealed ? ', encrypted' : ''
    pool.trace?.end('transmitted', `${this.#underlay.name}${how} to ${to}`)
    pool.free(packet)
  }

  #say(text: string): void {
    this.#pool.trace?.step(`tunnel ${this.name}`, text)
  }

  /** The node that the control plane told a station to be at. */
  #told({ hi, lo }: Mac): Remote | undefined {
    const entry = this.#stations.find(0, hi, lo | 0)
    if (entry < 0 || !this.#stations.isStatic(entry)) return undefined
    return this.#remotes.at(this.#stations.port(entry))
  }

  #forgetOne(remote: Remote): void {
    remote.stations--
    this.#remotes.release(remote)
  }
}
