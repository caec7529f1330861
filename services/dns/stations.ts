/**
 * Who may ask at gateways, and which addresses are gateways: by address, without making anything.
 *
 * A station is an address of an endpoint on one leg of the router, behind one device. What comes
 * with its address from another device borrows it.
 */
import { type Address, loadWords, sameAddress } from '../../stack/address.ts'
import { linkLocal } from '../../stack/arp/nd_emit.ts'
import { u8 } from '../../stack/bytes.ts'
import * as eth from '../../stack/eth/frame.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import type { Packet, Pool } from '../../stack/packet.ts'
import { hash, hashWords } from './names.ts'
import type { Scope } from './scope.ts'
import type { Manner } from './server.ts'
import { UDP_BYTES } from './wire.ts'

export interface Station {
  readonly link: number
  readonly address: Address
  /** Number of the device that it is behind. */
  readonly port: number
  /** How its datagrams are answered. */
  readonly manner: Manner
}

export class Stations {
  readonly #pool: Pool
  /** By hash of the address. */
  readonly #stations = new Map<number, Station[]>()
  readonly #gateways = new Map<number, Address[]>()
  readonly #words = new Int32Array(4)

  constructor(pool: Pool) {
    this.#pool = pool
  }

  addGateway(address: Address): void {
    push(this.#gateways, hash(address), address)
  }

  removeGateway(address: Address): void {
    keep(this.#gateways, hash(address), (one) => !sameAddress(one, address))
  }

  /** Answer an endpoint: its addresses on leg `link`, from device `port`. */
  add(scope: Scope, link: number, port: number, addresses: readonly Address[]): void {
    const manner: Manner = { scope, maxBytes: UDP_BYTES, isStream: false }
    for (const address of addresses) {
      push(this.#stations, hash(address), { link, address, port, manner })
    }
  }

  remove(scope: Scope, link: number): void {
    for (const key of [...this.#stations.keys()]) {
      keep(this.#stations, key, (one) => one.manner.scope !== scope || one.link !== link)
    }
  }

  /** Is it still there? */
  has(station: Station): boolean {
    return this.#stations.get(hash(station.address))?.includes(station) ?? false
  }

  /**
   * Who sent this to a gateway; undefined: it is not for one, or of nobody that we know. `head` at
   * the Ethernet header, IP header valid.
   */
  find(packet: Packet, from: RouterInterface): Station | undefined {
    const { mem } = this.#pool
    const ip = packet.head + eth.HEADER_BYTES
    const six = u8(mem, ip) >>> 4 === 6
    const to = ip + (six ? ipv6.DST : ipv4.DST)
    if (!this.#isGateway(to, six ? 6 : 4) && !(six && from.isLinkLocal(mem, to))) return undefined
    const words = this.#words
    loadWords(mem, ip + (six ? ipv6.SRC : ipv4.SRC), six ? 6 : 4, words)
    const list = this.#stations.get(hashWords(words, 0))
    if (list === undefined) return undefined
    for (let i = 0; i < list.length; i++) {
      const station = list[i]!
      if (station.link === from.index && isWords(station.address, words)) return station
    }
    return undefined
  }

  #isGateway(at: number, family: 4 | 6): boolean {
    const words = this.#words
    loadWords(this.#pool.mem, at, family, words)
    const list = this.#gateways.get(hashWords(words, 0))
    if (list === undefined) return false
    for (let i = 0; i < list.length; i++) if (isWords(list[i]!, words)) return true
    return false
  }
}

function isWords({ words }: Address, other: Int32Array): boolean {
  for (let i = 0; i < 4; i++) if (words[i] !== other[i]) return false
  return true
}

function push<T>(map: Map<number, T[]>, key: number, value: T): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

function keep<T>(map: Map<number, T[]>, key: number, test: (value: T) => boolean): void {
  const left = map.get(key)?.filter(test) ?? []
  if (left.length === 0) map.delete(key)
  else map.set(key, left)
}

/** Addresses that an endpoint asks from: its own, and what it makes of its MAC (RFC 4862 §5.3). */
export function stationAddresses(addresses: readonly Address[], mac: Mac): readonly Address[] {
  const six = addresses.some(({ family }) => family === 6)
  return six ? [...addresses, linkLocal(mac)] : addresses
}
