/** What a bridge says of a frame that only asks what would happen to it; see bridge.ts. */
import type { Packet, Pool } from '../packet.ts'
import type { Port } from './bridge_port.ts'
import type { Fdb } from './fdb.ts'
import { DST, isGroup, SRC } from './frame.ts'
import type { GroupFilter } from './group_filter.ts'
import { formatMac, mac } from './mac.ts'

/** Where a flood may go, and who wants it. */
export interface Flood {
  readonly vid: number
  readonly audience: number
  /** Undefined: everybody wants it. */
  readonly groups: GroupFilter | undefined
  readonly ports: readonly Port[]
}

export interface BridgeTraceOptions {
  readonly name: string
  readonly pool: Pool
  readonly fdb: Fdb
  /** Ports by their index; the bridge changes it. */
  readonly slots: readonly (Port | undefined)[]
}

export class BridgeTrace {
  readonly #element: string
  readonly #pool: Pool
  readonly #fdb: Fdb
  readonly #slots: readonly (Port | undefined)[]

  constructor({ name, pool, fdb, slots }: BridgeTraceOptions) {
    this.#element = `bridge ${name}`
    this.#pool = pool
    this.#fdb = fdb
    this.#slots = slots
  }

  source(from: Port, packet: Packet, vid: number): void {
    const { mem } = this.#pool
    const { hi, lo } = mac(mem, packet.head + SRC)
    const entry = this.#fdb.find(vid, hi, lo | 0)
    const vlan = from.vlans === undefined ? '' : ` in VLAN ${vid}`
    this.say(`in by ${from.name}${vlan}, to ${formatMac(mac(mem, packet.head + DST))}`)
    const source = `the source ${formatMac({ hi, lo })}`
    if (entry < 0) return this.say(`${source} is new; a real frame would teach it`)
    const known = this.#slots[this.#fdb.port(entry)]!
    const kind = this.#fdb.isStatic(entry) ? 'static' : 'learned'
    this.say(`${source} is known on ${known.name} (${kind})`)
  }

  flood(from: Port, packet: Packet, { vid, audience, groups, ports }: Flood): void {
    const group = isGroup(this.#pool.mem, packet.head + DST)
    const to = ports
      .filter((port) => from.floods(port, vid, group))
      .filter((port) => groups?.wants(audience, port.index) !== false)
      .map(({ name }) => name)
    const names = to.length === 0 ? 'nobody' : to.join(', ')
    if (groups !== undefined) return this.say(`a group: to who asked for it, ${names}`)
    const why = group ? 'a group address' : 'an unknown destination'
    this.say(`${why}: flooded to ${names}`)
  }

  say(text: string): void {
    this.#pool.trace?.step(this.#element, text)
  }
}
