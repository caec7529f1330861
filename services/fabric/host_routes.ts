/** Where an in-memory host sends what: its interfaces, their routes, and what paths can carry. */
import {
  type Address,
  contains,
  formatAddress,
  type Prefix,
  sameAddress,
  wordMask,
} from '../../stack/address.ts'
import type { NeighborLink } from '../../stack/arp/neighbors.ts'
import type { Device } from '../../stack/device.ts'
import { StackError } from '../../stack/errors.ts'
import { MIN_MTU_BYTES } from '../../stack/ip/ipv6.ts'
import type { LinkRoute } from '../links.ts'
import type { Plan } from './ip_host.ts'
import { isUnicast } from './wire.ts'

export interface HostInterface {
  readonly name: string
  readonly device: Device
  readonly mtuBytes: number
  readonly link: NeighborLink
  readonly routes: readonly LinkRoute[]
}

/** Paths with an MTU of their own that are remembered; the oldest has to go for another. */
const PATHS_MAX = 1024
/** As Linux's min_pmtu: nobody makes an IPv4 sender cut smaller (RFC 4821 §7.2). */
const PATH_MIN_BYTES = 552

export class HostRoutes {
  readonly #interfaces: HostInterface[] = []
  /** MTU by destination's text. */
  readonly #paths = new Map<string, number>()

  get interfaces(): readonly HostInterface[] {
    return this.#interfaces
  }

  add(iface: HostInterface): void {
    this.#interfaces.push(iface)
  }

  remove(iface: HostInterface): void {
    const at = this.#interfaces.indexOf(iface)
    if (at >= 0) this.#interfaces.splice(at, 1)
    this.#paths.clear()
  }

  isOwn(address: Address): boolean {
    return this.#interfaces.some(({ link }) =>
      link.addresses.some((own) => sameAddress(own.address, address)),
    )
  }

  /** The longest match of all connected networks and routes. @throws StackError `not-found`. */
  plan(to: Address): Plan {
    let best: { iface: HostInterface; bits: number; nextHop: Address } | undefined
    const consider = (iface: HostInterface, prefix: Prefix, nextHop: Address): void => {
      if (!contains(prefix, to)) return
      if (best === undefined || prefix.bits > best.bits)
        best = { iface, bits: prefix.bits, nextHop }
    }
    for (const iface of this.#interfaces) {
      for (const prefix of iface.link.addresses) consider(iface, prefix, to)
      for (const { destination, via } of iface.routes) consider(iface, destination, via)
    }
    const from = best && sourceFor(best.iface, best.nextHop)
    if (best === undefined || from === undefined) {
      throw new StackError('not-found', `no route to ${formatAddress(to)}`)
    }
    const { iface, nextHop } = best
    const path = this.#paths.get(formatAddress(to)) ?? iface.mtuBytes
    const mtuBytes = Math.min(path, iface.mtuBytes)
    return { link: iface.link, device: iface.device, from, nextHop, mtuBytes }
  }

  /** A router said that only so much gets there (RFC 1191, RFC 8201). */
  learn(to: Address, mtuBytes: number): void {
    const text = formatAddress(to)
    const least = to.family === 4 ? PATH_MIN_BYTES : MIN_MTU_BYTES
    if (mtuBytes >= (this.#paths.get(text) ?? Number.POSITIVE_INFINITY)) return
    this.#paths.delete(text)
    if (this.#paths.size === PATHS_MAX) this.#paths.delete(this.#paths.keys().next().value ?? '')
    this.#paths.set(text, Math.max(least, mtuBytes))
  }
}

/** Own address of the network that the next hop is in, else the first of the family. */
function sourceFor({ link }: HostInterface, nextHop: Address): Address | undefined {
  const family = link.addresses.filter(({ address }) => address.family === nextHop.family)
  return (family.find((prefix) => contains(prefix, nextHop)) ?? family[0])?.address
}

/** True if a packet to this address is for this interface: its own, a group, or a broadcast. */
export function isFor({ link }: HostInterface, to: Address): boolean {
  if (link.addresses.some(({ address }) => sameAddress(address, to))) return true
  if (!isUnicast(to)) return true
  return (
    to.family === 4 &&
    link.addresses.some(
      (own) => own.bits < 31 && contains(own, to) && (to.words[3]! | wordMask(own.bits)) === -1,
    )
  )
}
