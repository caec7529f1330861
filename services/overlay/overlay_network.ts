/**
 * The overlay side of one network of driver `overlay`: what its sources tell of other nodes goes
 * into the tables by which frames go.
 *
 * ```text
 *   record: MAC, addresses, VTEP
 *     ├─> bridge FDB    MAC -> port "tunnel"          static
 *     ├─> tunnel        MAC -> other node             static
 *     └─> bindings      address -> MAC, tunnel's port   proxies answer ARP and ND from it, those of
 *                                                       sandboxes and of the router's leg alike
 * ```
 *
 * A network has one tunnel, and one more for each VLAN that is an overlay network of its own. What
 * is here wins over what is told: a MAC or an address of an endpoint of this node stays its, and
 * the record waits until that endpoint leaves. What was told stays in force while sources are
 * silent. Of two sources, the one that told first keeps an endpoint, until it takes it back.
 *
 * An endpoint that moves, or comes again with another MAC, is announced to the sandboxes here.
 */
import { type Address, sameAddress } from '../../stack/address.ts'
import type { Bindings } from '../../stack/arp/bindings.ts'
import { StackError } from '../../stack/errors.ts'
import type { Bridge } from '../../stack/eth/bridge.ts'
import { formatMac, isGroupMac, type Mac, sameMac } from '../../stack/eth/mac.ts'
import type { Context } from '../context.ts'
import type { NetworkGroups } from '../groups.ts'
import type { NetworkState } from '../state.ts'
import { claimedHere, logConflict } from './conflicts.ts'
import { LastMacs } from './last_macs.ts'
import type { LocalEndpoint } from './local_endpoint.ts'
import { Members } from './members.ts'
import type { EndpointConflict, EndpointRecord, PeerListener, PeerSource } from './peer_source.ts'
import { has, recordKey } from './records.ts'
import {
  announceHere,
  closeSegments,
  openSegments,
  type Segment,
  type SegmentsOptions,
} from './segment.ts'
import { staticNetworks } from './static_source.ts'

/** Endpoints of other nodes in one network: as many as the tables below hold. */
const REMOTE_MAX = 4096

export interface OverlayNetworkOptions extends SegmentsOptions {
  /** Undefined: every group goes to everybody. */
  readonly groups: NetworkGroups | undefined
  /** What the router knows of this address is no more true. */
  readonly forget: (address: Address) => void
}

interface Held {
  readonly record: EndpointRecord
  readonly source: PeerSource
}

export class OverlayNetwork {
  readonly name: string
  /** The network's own VNI first. */
  readonly segments: readonly Segment[]
  readonly bridge: Bridge
  readonly bindings: Bindings
  readonly members: Members = new Members()
  /** What could not be taken in for want of room. */
  refused = 0
  readonly #context: Context
  readonly #groups: NetworkGroups | undefined
  readonly #own: Address
  readonly #node: string
  readonly #forget: (address: Address) => void
  /** By VNI and MAC. */
  readonly #held = new Map<string, Held>()
  /** By MAC. */
  readonly #local = new Map<string, EndpointRecord>()
  readonly #lastMacs = new LastMacs()

  /** Precondition: driver `overlay`. @throws StackError; leaves nothing. */
  constructor(o: OverlayNetworkOptions) {
    const { overlays } = o.context
    this.name = o.state.name
    this.bridge = o.bridge
    this.bindings = o.bindings
    this.#context = o.context
    this.#own = overlays.vtep.underlay.address
    this.#node = overlays.node!.name
    this.#forget = o.forget
    this.#groups = o.groups
    this.segments = openSegments(o)
    this.update(o.state)
  }

  /** Hear of other nodes from now on. */
  start(): void {
    this.#context.overlays.add(this)
  }

  /** Counters port of the network's own tunnel: for proxies. */
  get port(): number {
    return this.segments[0]!.tunnel.port
  }

  /** What the file says of other nodes has changed. */
  update({ overlay }: NetworkState): void {
    const { fixed } = this.#context.overlays
    for (const [vni, told] of staticNetworks(overlay!)) fixed.configure(vni, told)
  }

  /** Hear of this network from a source. */
  listen(source: PeerSource): void {
    for (const { vni } of this.segments) {
      source.join(vni, this.#listener(source))
      for (const record of this.#local.values()) if (record.vni === vni) source.announce(record)
    }
  }

  /** Hear nothing more from it, and forget what it told. */
  ignore(source: PeerSource): void {
    for (const { vni } of this.segments) source.leave(vni)
    for (const { record, source: teller } of [...this.#held.values()]) {
      if (teller === source) this.#remove(source, record.vni, record.mac)
    }
    this.members.forget(source)
  }

  /** An endpoint of this node came, or changed. Precondition: the bridge and bindings know it. */
  announce(endpoint: LocalEndpoint): void {
    const segment = this.#segmentOf(endpoint.vid)
    if (segment === undefined) return
    const { mac, addresses, name, aliases } = endpoint
    const { vni, tunnel } = segment
    const identity = { vtep: this.#own, node: this.#node }
    const record: EndpointRecord = { vni, mac, addresses, name, aliases, ...identity }
    this.#local.set(formatMac(mac), record)
    tunnel.addOwn(mac)
    for (const address of addresses) this.#lastMacs.see(address, mac)
    for (const source of this.#context.overlays.sources) source.announce(record)
  }

  /** It is gone; whoever is elsewhere with its MAC or an address of it is found again. */
  withdraw({ mac, addresses }: LocalEndpoint): void {
    const record = this.#local.get(formatMac(mac))
    if (record === undefined) return
    this.#local.delete(formatMac(mac))
    this.#segment(record.vni)?.tunnel.removeOwn(mac)
    for (const source of this.#context.overlays.sources) source.withdraw(record.vni, mac)
    for (const { record: other } of this.#held.values()) {
      const shares = other.addresses.some((a) => addresses.some((b) => sameAddress(a, b)))
      if (shares || sameMac(other.mac, mac)) this.#apply(other)
    }
  }

  /** Endpoints of other nodes that are in force. */
  records(vni: number): EndpointRecord[] {
    return [...this.#held.values()].map(({ record }) => record).filter((r) => r.vni === vni)
  }

  /** The endpoint of this node that has the address. */
  localOf(address: Address): EndpointRecord | undefined {
    return [...this.#local.values()].find((local) => has(local, address))
  }

  /** True if the MAC is that of an endpoint of this node. */
  isLocal(mac: Mac): boolean {
    return this.#local.has(formatMac(mac))
  }

  sources(): readonly PeerSource[] {
    return this.#context.overlays.sources
  }

  /** True if tunnels of this node end there. */
  isOwn(vtep: Address): boolean {
    return sameAddress(vtep, this.#own)
  }

  /** True if the address is that of an endpoint of this node, or of the gateway. */
  isHeldHere(address: Address): boolean {
    const entry = this.bindings.find(address)
    return entry >= 0 && !this.#isTunnel(this.bindings.port(entry))
  }

  /** Take in once more all that sources tell: see reconcile.ts. */
  reapply(): void {
    for (const { vni, tunnel } of this.segments) {
      for (const source of this.sources()) {
        const told = source.records(vni)
        const macs = new Set(told.map(({ mac }) => formatMac(mac)))
        for (const held of [...this.#held.values()]) {
          const { mac, vni: other } = held.record
          if (other !== vni || held.source !== source || macs.has(formatMac(mac))) continue
          this.#remove(source, vni, mac)
        }
        for (const vtep of source.vteps(vni)) {
          this.#attempt(() => {
            this.#join(source, vni, vtep)
            if (!this.isOwn(vtep)) tunnel.addMember(vtep)
          })
        }
        for (const record of told) this.#set(source, record)
      }
    }
  }

  /** Forget what the router knows of an address. */
  forget(address: Address): void {
    this.#forget(address)
  }

  /** Precondition: no endpoint is left. */
  close(): void {
    const { overlays } = this.#context
    overlays.remove(this)
    for (const { vni } of this.segments) overlays.fixed.configure(vni, undefined)
    closeSegments({ context: this.#context, bridge: this.bridge }, this.segments)
  }

  #listener(source: PeerSource): PeerListener {
    return {
      addVtep: (vni, vtep) => this.#attempt(() => this.#join(source, vni, vtep)),
      removeVtep: (vni, vtep) => this.#leave(source, vni, vtep),
      setEndpoint: (record) => this.#set(source, record),
      removeEndpoint: (vni, mac) => this.#remove(source, vni, mac),
      conflict: (address, kept, refused) => this.#report({ address, kept, refused }),
    }
  }

  #report(conflict: EndpointConflict): void {
    logConflict(this.#context.log, this.name, conflict)
  }

  #join(source: PeerSource, vni: number, vtep: Address): void {
    const segment = this.#segment(vni)
    if (segment === undefined || sameAddress(vtep, this.#own)) return
    this.members.join(source, segment, vtep)
    this.#groups?.welcome()
  }

  #leave(source: PeerSource, vni: number, vtep: Address): void {
    const segment = this.#segment(vni)
    if (segment !== undefined) this.members.leave(source, segment, vtep)
  }

  #set(source: PeerSource, record: EndpointRecord): void {
    const key = recordKey(record.vni, record.mac)
    const before = this.#held.get(key)
    if (this.#segment(record.vni) === undefined) return
    // It moved here: the endpoint itself has told so already.
    if (sameAddress(record.vtep, this.#own)) return this.#remove(source, record.vni, record.mac)
    if (before !== undefined && before.source !== source) return
    if (isGroupMac(record.mac) || (before === undefined && this.#held.size >= REMOTE_MAX)) {
      this.refused++
      const why = { network: this.name, mac: formatMac(record.mac), endpointsMax: REMOTE_MAX }
      return this.#context.log.warn(why, 'an endpoint of another node was not taken in')
    }
    this.#held.set(key, { record, source })
    this.#context.overlays.names?.setRemote(this.name, record)
    this.#apply(record, before?.record)
    if (before !== undefined || source.conflicts(record.vni) !== undefined) return
    for (const conflict of claimedHere(this, record)) this.#report(conflict)
  }

  #remove(source: PeerSource, vni: number, mac: Mac): void {
    const key = recordKey(vni, mac)
    const held = this.#held.get(key)
    const segment = this.#segment(vni)
    if (held === undefined || segment === undefined || held.source !== source) return
    this.#held.delete(key)
    this.#context.overlays.names?.removeRemote(this.name, mac)
    for (const address of held.record.addresses) this.#unbind(segment, address, mac)
    if (!this.isLocal(mac)) {
      segment.tunnel.removeStation(mac)
      this.bridge.removeStatic(mac, segment.vid)
    }
    for (const other of this.#context.overlays.sources) {
      const record =
        other === source ? undefined : other.records(vni).find((r) => sameMac(r.mac, mac))
      if (record !== undefined) return this.#set(other, record)
    }
  }

  /** Into the tables. What is full is logged, and tried again when tables are compared. */
  #apply(record: EndpointRecord, before?: EndpointRecord): void {
    const segment = this.#segment(record.vni)!
    const { mac, vtep, addresses } = record
    let moved = before !== undefined && !sameAddress(before.vtep, vtep)
    for (const address of before?.addresses ?? []) {
      if (!addresses.some((kept) => sameAddress(kept, address))) this.#unbind(segment, address, mac)
    }
    this.#attempt(() => {
      if (!this.isLocal(mac)) {
        segment.tunnel.addStation(mac, vtep)
        this.bridge.addStatic(mac, segment.port, segment.vid)
      }
      for (const address of addresses) if (this.#bind(segment, address, record)) moved = true
    })
    if (moved) for (const address of addresses) this.#tell(segment, address, mac)
  }

  /** True if the address was at another MAC when last seen. */
  #bind({ tunnel }: Segment, address: Address, record: EndpointRecord): boolean {
    const { mac } = record
    if (this.localOf(address) !== undefined || this.isHeldHere(address)) return false
    this.bindings.set(address, mac, tunnel.port)
    const moved = this.#lastMacs.see(address, mac)
    if (moved) this.#forget(address)
    return moved
  }

  #unbind({ tunnel }: Segment, address: Address, mac: Mac): void {
    const { bindings } = this
    const entry = bindings.find(address)
    if (entry < 0 || bindings.port(entry) !== tunnel.port) return
    if (!sameMac({ hi: bindings.macHi(entry), lo: bindings.macLo(entry) }, mac)) return
    bindings.delete(address)
    this.#forget(address)
  }

  /** Say here where an address is now. */
  #tell({ port }: Segment, address: Address, mac: Mac): void {
    const { pool } = this.#context
    const entry = this.bindings.find(address)
    if (entry < 0 || !this.#isTunnel(this.bindings.port(entry))) return
    announceHere(pool, port, address, mac)
  }

  #isTunnel(port: number): boolean {
    return this.segments.some(({ tunnel }) => tunnel.port === port)
  }

  #segment(vni: number): Segment | undefined {
    return this.segments.find((segment) => segment.vni === vni)
  }

  #segmentOf(vid: number | undefined): Segment | undefined {
    return vid === undefined ? this.segments[0] : this.segments.find((each) => each.vid === vid)
  }

  #attempt(work: () => void): void {
    try {
      work()
    } catch (error) {
      if (!(error instanceof StackError)) throw error
      this.refused++
      const message = 'what another node has was not taken in'
      this.#context.log.warn({ network: this.name, err: error }, message)
    }
  }
}
