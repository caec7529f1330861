/**
 * Transparent learning bridge (IEEE 802.1Q clauses 8.6 forwarding, 8.7 learning, 8.8 FDB).
 *
 * ```text
 *  port.input -> refuse -> VLAN -> storm -> learn -+-> known unicast -> one port.output
 *                (runts, reserved groups,          |
 *                 bad or spoofed sources)          +-> flood: a copy to all but the last port,
 *                                                      the frame itself to that one
 * ```
 *
 * A frame that is refused before `learn` teaches the bridge nothing. The VLAN decides about frames
 * only on a filtering bridge; else a tag is payload, as in Linux with `vlan_filtering 0`.
 *
 * Invariants: a learned entry leads to a port that is forwarding; a static entry wins over what
 * frames say; the list of ports is replaced and never changed in place, because an output may
 * re-enter the bridge (the router answers) or remove a port (its device is lost) in the middle of a
 * flood. For the same reason nothing is kept in the FDB's scratch key across an output.
 *
 * Limits: {@link FDB_MAX} entries, {@link BRIDGE_PORTS_MAX} ports. No spanning tree (see
 * loopguard.ts for what there is). Group frames go to every port unless a filter knows who wants
 * them (group_filter.ts).
 *
 * Longer than most elements because the control side and the data path share private state, which
 * a second file could only reach by making it public.
 */
import { i32, u16 } from '../bytes.ts'
import type { Clock } from '../clock.ts'
import { DROP_NAMES, DropReason } from '../drop.ts'
import { StackError } from '../errors.ts'
import { NOT_HEARD } from '../flow_notes.ts'
import type { Packet, Pool } from '../packet.ts'
import {
  type BridgePort,
  type BridgePortInfo,
  type BridgePortOptions,
  Port,
  PortState,
} from './bridge_port.ts'
import { BridgeTrace } from './bridge_trace.ts'
import { AGE_MS, BRIDGE_PORTS_MAX, FDB_MAX, Fdb } from './fdb.ts'
import * as eth from './frame.ts'
import { Audience, type GroupFilter, GroupRole } from './group_filter.ts'
import { type BridgeEvent, Learning } from './learning.ts'
import { LoopGuard, type LoopGuardOptions } from './loopguard.ts'
import { formatMac, isGroupMac, type Mac } from './mac.ts'
import { StormClass } from './storm.ts'
import { checkVid } from './vlan.ts'

export interface BridgeOptions {
  readonly name: string
  readonly pool: Pool
  readonly clock: Clock
  readonly seed: number
  /** Default {@link FDB_MAX}. */
  readonly fdbMax?: number
  /** Default {@link AGE_MS}. */
  readonly ageMs?: number
  /** Default false: tags are payload. */
  readonly vlanFiltering?: boolean
  readonly loopGuard?: LoopGuardOptions
  /** Knows who wants which group; undefined: everybody gets all. */
  readonly groups?: GroupFilter
  readonly log?: (event: BridgeEvent) => void
}

/** One FDB entry, for listings. */
export interface BridgeStation {
  readonly mac: string
  /** 0 on a bridge that does not filter VLANs. */
  readonly vid: number
  readonly port: string
  readonly static: boolean
  readonly ageMs: number
}

export class Bridge {
  readonly name: string
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #fdb: Fdb
  readonly #learning: Learning
  readonly #filtering: boolean
  readonly #groups: GroupFilter | undefined
  readonly #trace: BridgeTrace
  /** By port index, as the FDB knows them. */
  readonly #slots: (Port | undefined)[] = []
  /** Ports in the order added. */
  #ports: readonly Port[] = []
  #order = 0

  /** @throws StackError `bad-argument` for a limit that makes no sense. */
  constructor(options: BridgeOptions) {
    const { name, pool, clock, seed, fdbMax = FDB_MAX, ageMs = AGE_MS } = options
    this.name = name
    this.#pool = pool
    this.#clock = clock
    const { changed } = pool.notes
    this.#fdb = new Fdb({ clock, seed, entriesMax: fdbMax, ageMs, changed })
    this.#learning = new Learning({
      bridge: name,
      pool,
      clock,
      fdb: this.#fdb,
      slots: this.#slots,
      guard: new LoopGuard(options.loopGuard ?? {}),
      log: options.log,
    })
    this.#filtering = options.vlanFiltering ?? false
    this.#groups = options.groups
    this.#trace = new BridgeTrace({ name, pool, fdb: this.#fdb, slots: this.#slots })
  }

  /**
   * @throws StackError `exists` for a second port of that name, `exhausted` beyond
   * {@link BRIDGE_PORTS_MAX}, `bad-argument` for VLANs on a bridge that does not filter them.
   */
  addPort(options: BridgePortOptions): BridgePort {
    if (this.#ports.some(({ name }) => name === options.name)) {
      throw new StackError('exists', `bridge ${this.name} has a port ${options.name}`)
    }
    if (options.vlan !== undefined && !this.#filtering) {
      throw new StackError('bad-argument', `bridge ${this.name} does not filter VLANs`)
    }
    const free = this.#slots.indexOf(undefined)
    const index = free < 0 ? this.#slots.length : free
    if (index >= BRIDGE_PORTS_MAX) {
      throw new StackError('exhausted', `bridge ${this.name} has ${BRIDGE_PORTS_MAX} ports`)
    }
    const port = new Port(options, {
      index,
      order: this.#order++,
      clock: this.#clock,
      filtering: this.#filtering,
      input: (self) => (packet) => this.#receive(self, packet),
    })
    const { groupRole: role = GroupRole.Auto, fastLeave = false } = options
    this.#groups?.addPort(index, { role, fastLeave })
    this.#slots[index] = port
    this.#ports = [...this.#ports, port]
    this.#pool.notes.changed()
    return port
  }

  /** Forgets its FDB entries; what still comes in by it is dropped. Idempotent. */
  removePort(port: BridgePort): void {
    const old = this.#ports.find((candidate) => candidate === port)
    if (old === undefined) return
    old.state = PortState.Removed
    old.cancelReopen?.()
    this.#fdb.forgetPort(old.index, true)
    this.#groups?.removePort(old.index)
    this.#slots[old.index] = undefined
    this.#ports = this.#ports.filter((other) => other !== old)
    this.#pool.notes.changed()
  }

  /**
   * From now on the station is behind `port`, whatever frames say. Replaces what is known of it.
   * `vid` left out: the port's PVID, or 0 on a bridge that does not filter VLANs.
   * @throws StackError `not-found` for a port of another bridge, `bad-argument` for a group address
   * or a VLAN the port does not carry, `exhausted` if all entries are static.
   */
  addStatic(station: Mac, port: BridgePort, vid?: number): void {
    const to = this.#ports.find((candidate) => candidate === port)
    if (to === undefined) throw new StackError('not-found', `no port ${port.name} in ${this.name}`)
    if (isGroupMac(station)) {
      throw new StackError('bad-argument', `${formatMac(station)} is a group address`)
    }
    this.#fdb.addStatic(this.#vidOf(to, vid), station, to.index)
  }

  /** Forget a station, also a learned one. `vid` left out: in every VLAN. */
  removeStatic(station: Mac, vid?: number): void {
    for (const entry of this.#fdb.list()) {
      const { hi, lo } = entry.mac
      if (hi !== station.hi || lo !== station.lo >>> 0) continue
      if (vid === undefined || vid === entry.vid) this.#fdb.removeEntry(entry.vid, hi, lo | 0)
    }
  }

  /** What the bridge knows, by the names of its ports. */
  fdb(): BridgeStation[] {
    return this.#fdb.list().map((entry) => ({
      ...entry,
      mac: formatMac(entry.mac),
      port: this.#slots[entry.port]!.name,
    }))
  }

  ports(): BridgePortInfo[] {
    return this.#ports.map((port) => ({
      name: port.name,
      state: port.state === PortState.Shut ? 'shut' : 'forwarding',
      learned: this.#fdb.learned(port.index),
      learnRefused: port.learnRefused,
      moves: port.moves,
      group: port.group,
      isolated: port.isolated,
      vlan: port.options.vlan,
    }))
  }

  /** Of a port by its number. */
  portName(index: number): string | undefined {
    return this.#slots[index]?.name
  }

  /** Remove all ports and stop all timers. Idempotent. */
  close(): void {
    for (const port of this.#ports) this.removePort(port)
    this.#fdb.close()
  }

  #vidOf(port: Port, vid: number | undefined): number {
    if (port.vlans === undefined) {
      if (vid === undefined || vid === 0) return 0
      throw new StackError('bad-argument', `bridge ${this.name} does not filter VLANs`)
    }
    if (vid === undefined && port.vlans.pvid < 0) {
      throw new StackError('bad-argument', `port ${port.name} has no PVID: say which VLAN`)
    }
    const chosen = checkVid(vid ?? port.vlans.pvid)
    if (port.vlans.carries(chosen)) return chosen
    throw new StackError('bad-argument', `port ${port.name} does not carry VLAN ${chosen}`)
  }

  #receive(from: Port, packet: Packet): void {
    const pool = this.#pool
    const { mem } = pool
    const frame = packet.head
    const refusal = this.#refuse(from, packet)
    if (refusal >= 0) return pool.drop(packet, refusal)
    const vid = from.vlans === undefined ? 0 : from.vlans.classify(mem, frame)
    if (vid < 0) return pool.drop(packet, DropReason.VlanNotAllowed)
    const group = eth.isGroup(mem, frame + eth.DST)
    if (group && from.storm !== undefined && !packet.traced) {
      const over = this.#overGroupLimit(from, packet)
      if (over >= 0) return pool.drop(packet, over)
    }
    if (packet.traced) this.#trace.source(from, packet, vid)
    else if (!this.#learning.learn(from, packet, vid)) {
      return pool.drop(packet, DropReason.BridgeLoop)
    }
    if (group) return this.#group(from, packet, vid)
    const entry = this.#fdb.find(vid, u16(mem, frame + eth.DST), i32(mem, frame + eth.DST + 2))
    if (entry < 0) return this.#unknown(from, packet, vid)
    if (packet.recorded) this.#note(from, packet, vid, entry)
    this.#unicast(from, this.#slots[this.#fdb.port(entry)]!, packet, vid)
  }

  /** The trust boundary: after it, every accessor of the Ethernet header and tag is safe. */
  #refuse(from: Port, packet: Packet): number {
    const { mem } = this.#pool
    const frame = packet.head
    if (from.state !== PortState.Forwarding) {
      return from.state === PortState.Shut ? DropReason.BridgePortShut : DropReason.DeviceDown
    }
    if (!eth.isHeader(packet.len)) return DropReason.FrameRunt
    if (
      eth.type(mem, frame) === eth.EtherType.Vlan &&
      packet.len < eth.HEADER_BYTES + eth.TAG_BYTES
    ) {
      return DropReason.FrameRunt
    }
    const hi = u16(mem, frame + eth.SRC)
    const lo = i32(mem, frame + eth.SRC + 2)
    if (eth.isGroup(mem, frame + eth.SRC) || (hi | lo) === 0) return DropReason.BridgeSourceGroup
    if (eth.isReservedGroup(mem, frame + eth.DST)) return DropReason.BridgeReservedGroup
    return from.maySend(hi, lo) ? -1 : DropReason.MacSpoofed
  }

  #overGroupLimit(from: Port, packet: Packet): number {
    const broadcast = eth.isBroadcast(this.#pool.mem, packet.head + eth.DST)
    const kind = broadcast ? StormClass.Broadcast : StormClass.Multicast
    if (from.storm!.admits(kind, packet)) return -1
    return broadcast ? DropReason.StormBroadcast : DropReason.StormMulticast
  }

  #unknown(from: Port, packet: Packet, vid: number): void {
    const { storm } = from
    if (storm !== undefined && !packet.traced) {
      if (!storm.admits(StormClass.Unknown, packet)) {
        return this.#pool.drop(packet, DropReason.StormUnknown)
      }
    }
    this.#flood(from, packet, vid, Audience.Everybody)
  }

  #group(from: Port, packet: Packet, vid: number): void {
    const audience = this.#groups?.audience(packet, vid, from.index) ?? Audience.Everybody
    if (audience !== Audience.Malformed) return this.#flood(from, packet, vid, audience)
    this.#pool.drop(packet, DropReason.GroupMalformed)
  }

  #unicast(from: Port, to: Port, packet: Packet, vid: number): void {
    if (packet.traced) this.#trace.say(`the destination is known on ${to.name}`)
    const refusal = from.refuses(to, vid)
    if (refusal >= 0) return this.#pool.drop(packet, refusal)
    if (to.vlans !== undefined) to.vlans.dress(this.#pool.mem, packet, vid)
    to.output(packet)
  }

  /** Always one port behind, so that the last to qualify gets the frame itself and not a copy. */
  #flood(from: Port, packet: Packet, vid: number, audience: number): void {
    packet.recorded = false
    const group = eth.isGroup(this.#pool.mem, packet.head + eth.DST)
    const ports = this.#ports
    const groups = audience === Audience.Everybody ? undefined : this.#groups
    if (packet.traced) this.#trace.flood(from, packet, { vid, audience, groups, ports })
    let last: Port | undefined
    for (let i = 0; i < ports.length; i++) {
      const to = ports[i]!
      if (!from.floods(to, vid, group) || groups?.wants(audience, to.index) === false) continue
      if (last !== undefined) this.#copyTo(last, packet, vid)
      last = to
    }
    if (last === undefined) {
      return this.#pool.drop(packet, groups?.unwanted(audience) ?? DropReason.BridgeNoPort)
    }
    if (last.vlans !== undefined) last.vlans.dress(this.#pool.mem, packet, vid)
    last.output(packet)
  }

  /** A copy that cannot be made is the loss of the port it was for; the others get theirs. */
  #copyTo(to: Port, packet: Packet, vid: number): void {
    const pool = this.#pool
    const twin = pool.clone(packet)
    if (twin === undefined) {
      if (packet.traced) pool.trace?.end('dropped', DROP_NAMES[DropReason.PoolEmpty]!)
      else pool.counters.dropped(to.counter, DropReason.PoolEmpty)
      return
    }
    if (to.vlans !== undefined) to.vlans.dress(pool.mem, twin, vid)
    to.output(twin)
  }

  /** The stations by which a unicast frame goes, as far as they may age. */
  #note(from: Port, packet: Packet, vid: number, to: number): void {
    const { mem, notes } = this.#pool
    const fdb = this.#fdb
    const source = packet.head + eth.SRC
    const entry = fdb.find(vid, u16(mem, source), i32(mem, source + 2))
    const here = entry >= 0 && (fdb.isStatic(entry) || fdb.port(entry) === from.index)
    // A source that the bridge could not learn is counted with every frame.
    if (!here) packet.recorded = false
    else if (!fdb.isStatic(entry)) notes.station(packet, fdb, entry, from.index)
    if (!fdb.isStatic(to)) notes.station(packet, fdb, to, NOT_HEARD)
  }
}
