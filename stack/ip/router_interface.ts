/**
 * One leg of the router: its attachment to one network, with addresses, MTU and what it may do.
 */

import {
  type Address,
  type Family,
  familyBits,
  isAt,
  networkOf,
  type Prefix,
  wordMask,
} from '../address.ts'
import { linkLocal } from '../arp/nd_emit.ts'
import type { NeighborLink } from '../arp/neighbor_link.ts'
import { i32 } from '../bytes.ts'
import { StackError } from '../errors.ts'
import type { Mac } from '../eth/mac.ts'
import type { Output } from '../packet.ts'
import * as ipv6 from './ipv6.ts'
import { Scope, scope6 } from './scope.ts'
import { TokenBucket } from './token_bucket.ts'

export interface Advertise {
  /** Resolvers to announce (RFC 8106 §5.1). */
  readonly dnsAddresses?: readonly Address[]
  /** Domains to search in (RFC 8106 §5.2). */
  readonly dnsSearch?: readonly string[]
}

export interface RouterInterfaceOptions {
  /** Name of the network. */
  readonly name: string
  readonly mac: Mac
  readonly mtuBytes: number
  /** Gateway addresses. A link-local one is added when any is IPv6. */
  readonly addresses: readonly Prefix[]
  /** Ethernet frames into the network. */
  readonly output: Output
  /** Neither from nor to this network is anything routed. */
  readonly internal: boolean
  /** Nothing is routed between it and others of which this holds. Default false. */
  readonly separate?: boolean
  /** Send router advertisements; left out: none. */
  readonly advertise?: Advertise
  /** A source must be routed back through this interface (RFC 3704 §2.2). Default true. */
  readonly strictSource?: boolean
}

/** RFC 791 §3.2: every module must be able to forward 68 octets unfragmented. */
const MTU_MIN_BYTES = 68
/** ICMP errors that may follow each other at once on one interface. */
const ICMP_BURST = 50

export class RouterInterface {
  readonly index: number
  readonly name: string
  readonly mac: Mac
  readonly mtuBytes: number
  readonly internal: boolean
  readonly separate: boolean
  readonly strictSource: boolean
  /** All own addresses, the link-local one included. Only the router changes them. */
  readonly addresses: Prefix[]
  readonly linkLocal: Address | undefined
  readonly link: NeighborLink
  /** Frames from the network to the router, `head` at the Ethernet header. Takes ownership. */
  readonly input: Output
  /** What ICMP errors it may still send. */
  readonly icmpBudget: TokenBucket

  /** @throws StackError `bad-argument` if the MTU is too small for its families. */
  constructor(
    index: number,
    options: RouterInterfaceOptions,
    { input, icmpPerS }: { input: (from: RouterInterface) => Output; icmpPerS: number },
  ) {
    const { addresses, mac, mtuBytes, name, output } = options
    const six = addresses.some(({ address }) => address.family === 6)
    const leastBytes = six ? ipv6.MIN_MTU_BYTES : MTU_MIN_BYTES
    if (mtuBytes < leastBytes) {
      const why = `network ${name}: MTU ${mtuBytes} is below ${leastBytes}`
      throw new StackError('bad-argument', six ? `${why}, which IPv6 needs` : why)
    }
    this.index = index
    this.name = name
    this.mac = mac
    this.mtuBytes = mtuBytes
    this.internal = options.internal
    this.separate = options.separate ?? false
    this.strictSource = options.strictSource ?? true
    this.linkLocal = six ? linkLocal(mac) : undefined
    this.addresses =
      this.linkLocal === undefined
        ? [...addresses]
        : [...addresses, { address: this.linkLocal, bits: 64 }]
    this.link = { index, name, mac, output, addresses: this.addresses }
    this.icmpBudget = new TokenBucket({ perS: icmpPerS, burst: Math.min(ICMP_BURST, icmpPerS) })
    this.input = input(this)
  }

  /** Connected networks, by host bits cleared; link-local not among them. */
  networks(): Prefix[] {
    return this.addresses
      .filter(({ address }) => address !== this.linkLocal)
      .map((prefix) => ({ address: networkOf(prefix), bits: prefix.bits }))
  }

  /** First and last address of each IPv4 network; a /31 or /32 has none (RFC 3021). */
  broadcasts(): Prefix[] {
    return this.networks()
      .filter(({ address, bits }) => address.family === 4 && bits <= 30)
      .flatMap(({ address, bits }) => {
        const words = address.words.slice()
        words[3] = words[3]! | ~wordMask(bits)
        const host = familyBits(4)
        return [
          { address, bits: host },
          { address: { family: 4 as const, words }, bits: host },
        ]
      })
  }

  /**
   * The own address to speak from to the address at `at`: one of its network, else the first of
   * the family; link-local to link-local. Undefined if the family is not configured.
   */
  sourceFor(mem: Uint8Array, at: number, family: Family): Address | undefined {
    if (family === 6 && scope6(mem, at) === Scope.LinkLocal) return this.linkLocal
    let first: Address | undefined
    for (let i = 0; i < this.addresses.length; i++) {
      const { address, bits } = this.addresses[i]!
      if (address.family !== family || address === this.linkLocal) continue
      if (covers(address, bits, mem, at)) return address
      first ??= address
    }
    return first ?? (family === 6 ? this.linkLocal : undefined)
  }

  /** True if the 16 octets at `at` are the link-local address of this interface. */
  isLinkLocal(mem: Uint8Array, at: number): boolean {
    return this.linkLocal !== undefined && isAt(mem, at, this.linkLocal)
  }
}

function covers({ family, words }: Address, bits: number, mem: Uint8Array, at: number): boolean {
  if (family === 4) return ((i32(mem, at) ^ words[3]!) & wordMask(bits)) === 0
  for (let i = 0; i < 4; i++) {
    if (((i32(mem, at + 4 * i) ^ words[i]!) & wordMask(bits - 32 * i)) !== 0) return false
  }
  return true
}
