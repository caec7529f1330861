/**
 * IP address management: which addresses of a subnet are taken, and which one is next.
 *
 * ```text
 *   172.17.0.0/16   network      never handed out (RFC 1122 §3.2.1.3; IPv6: subnet-router anycast)
 *   172.17.0.1      gateway      reserved when the subnet is made
 *   172.17.0.2 ...  hosts        lowest free first, inside ip_range where one is given
 *   172.17.255.255  broadcast    never handed out (IPv4 only)
 * ```
 *
 * The same requests in the same order get the same answers: that is what lets a file describe a
 * network whole, and a test say what it will see. A subnet is its bounds and the set of what is
 * taken, so that a /64 costs no more than a /24.
 *
 * Integers are BigInt here: an IPv6 address has 128 bits, and nothing on the data path asks.
 */
import { createHash } from 'node:crypto'
import {
  type Address,
  type Family,
  familyBits,
  formatAddress,
  formatPrefix,
  fromBytes,
  overlaps,
  type Prefix,
  parsePrefix,
  toBytes,
} from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import type { SubnetConfig } from './config/model.ts'

/** An address as an integer of its own family's width. */
export function toInteger(address: Address): bigint {
  return BigInt(`0x${Buffer.from(toBytes(address)).toString('hex')}`)
}

/** Precondition: `value` fits in the family. */
export function fromInteger(family: Family, value: bigint): Address {
  const digits = value.toString(16).padStart(familyBits(family) / 4, '0')
  return fromBytes(Uint8Array.from(Buffer.from(digits, 'hex')))
}

export interface Bounds {
  readonly first: bigint
  readonly last: bigint
}

/** Every address of a prefix. */
export function boundsOf({ address, bits }: Prefix): Bounds {
  const host = BigInt(familyBits(address.family) - bits)
  const first = (toInteger(address) >> host) << host
  return { first, last: first + (1n << host) - 1n }
}

/**
 * The addresses of a prefix that a machine may have. A /31 has two (RFC 3021), a /127 likewise
 * (RFC 6164); a single address is its own host.
 */
export function hostBounds(prefix: Prefix): Bounds {
  const { first, last } = boundsOf(prefix)
  if (last - first < 2n) return { first, last }
  return { first: first + 1n, last: prefix.address.family === 4 ? last - 1n : last }
}

export interface SubnetOptions {
  readonly subnet: Prefix
  /** Addresses that {@link Subnet.allocate} may choose; left out: all hosts of the subnet. */
  readonly range?: Prefix | undefined
}

/** The addresses of one subnet. */
export class Subnet {
  readonly subnet: Prefix
  /** What `allocate` chooses from. */
  readonly #from: Bounds
  readonly #hosts: Bounds
  /** Who holds which address: a sentence's subject for messages, such as `web1`. */
  readonly #holders = new Map<bigint, string>()
  /** Holders inside the range. */
  #used = 0
  /** No address below it is free: where the search for the lowest free one begins. */
  #hint: bigint

  constructor({ subnet, range }: SubnetOptions) {
    this.subnet = subnet
    this.#hosts = hostBounds(subnet)
    const wanted = range === undefined ? this.#hosts : boundsOf(range)
    this.#from = {
      first: greater(wanted.first, this.#hosts.first),
      last: -greater(-wanted.last, -this.#hosts.last),
    }
    this.#hint = this.#from.first
  }

  get family(): Family {
    return this.subnet.address.family
  }

  /** True if a machine on this subnet may have the address. */
  isHost(address: Address): boolean {
    const value = toInteger(address)
    const { first, last } = this.#hosts
    return address.family === this.family && value >= first && value <= last
  }

  holder(address: Address): string | undefined {
    return this.#holders.get(toInteger(address))
  }

  /**
   * Take a certain address, in the range or not.
   * @throws StackError `bad-address` if it is not a host of the subnet, `exists` if it is taken.
   */
  reserve(address: Address, holder: string): void {
    const text = formatAddress(address)
    if (!this.isHost(address)) {
      const message = `${text} is not a host address of ${formatPrefix(this.subnet)}`
      throw new StackError('bad-address', message)
    }
    const taken = this.holder(address)
    if (taken !== undefined) throw new StackError('exists', `${text} is taken by ${taken}`)
    this.#hold(toInteger(address), holder)
  }

  /** The lowest free address. @throws StackError `exhausted`. */
  allocate(holder: string): Address {
    let value = this.#hint
    while (value <= this.#from.last && this.#holders.has(value)) value++
    this.#hint = value
    if (value > this.#from.last) throw new StackError('exhausted', this.#exhausted(holder))
    this.#hold(value, holder)
    return fromInteger(this.family, value)
  }

  /** Give an address back. Harmless if it is free. */
  release(address: Address): void {
    const value = toInteger(address)
    if (!this.#holders.delete(value) || !this.#isInRange(value)) return
    this.#used--
    if (value < this.#hint) this.#hint = value
  }

  /** Free addresses that `allocate` may still choose. */
  get free(): bigint {
    return this.#size - BigInt(this.#used)
  }

  get #size(): bigint {
    const { first, last } = this.#from
    return last < first ? 0n : last - first + 1n
  }

  #hold(value: bigint, holder: string): void {
    this.#holders.set(value, holder)
    if (this.#isInRange(value)) this.#used++
  }

  #isInRange(value: bigint): boolean {
    return value >= this.#from.first && value <= this.#from.last
  }

  #exhausted(holder: string): string {
    const { first, last } = this.#from
    const size = this.#size
    const range =
      size === 0n
        ? 'it has no host addresses'
        : `${fromText(this.family, first)} to ${fromText(this.family, last)}`
    const used = `${this.#used} of ${size} in use`
    return `no address left in ${formatPrefix(this.subnet)} for ${holder}: ${used} (${range})`
  }
}

/** `Math.max` knows no BigInt. */
export function greater(a: bigint, b: bigint): bigint {
  if (a > b) return a
  return b
}

function fromText(family: Family, value: bigint): string {
  return formatAddress(fromInteger(family, value))
}

/** The first host of a subnet that is not held back for another machine. */
export function defaultGateway({ subnet, auxiliary }: SubnetConfig): Address {
  const { family } = subnet.address
  const held = new Set(auxiliary.map(({ address }) => toInteger(address)))
  let value = hostBounds(subnet).first
  while (held.has(value)) value++
  return fromInteger(family, value)
}

/** Docker's local address pools: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in /20s. */
function* defaultPools4(): Iterable<Prefix> {
  for (let i = 17; i <= 31; i++) yield parsePrefix(`172.${i}.0.0/16`)
  for (let i = 0; i < 256; i += 16) yield parsePrefix(`192.168.${i}.0/20`)
}

/**
 * A subnet for a network that names none: IPv4, the first of Docker's pools that overlaps nothing
 * in `taken`; IPv6, a /64 of a unique local prefix (RFC 4193 §3.2) made from `seed`, so that the
 * same network has the same addresses on every run. `fromEnd`: the last of Docker's pools, where
 * Docker itself deals them out from the first on.
 * @throws StackError `exhausted`.
 */
export function defaultSubnet(
  family: Family,
  seed: string,
  taken: readonly Prefix[],
  fromEnd = false,
): Prefix {
  const pools4 = [...defaultPools4()]
  if (fromEnd) pools4.reverse()
  for (const subnet of family === 4 ? pools4 : uniqueLocal(seed)) {
    if (!taken.some((other) => overlaps(other, subnet))) return subnet
  }
  const message =
    `no default address pool is left for network ${seed}: ` +
    'all of 172.17.0.0 to 172.31.255.255 and 192.168.0.0/16 are in use; give it a subnet'
  throw new StackError('exhausted', message)
}

/** Prefixes fdxx:xxxx:xxxx::/64; the first is free but by an odd chance of 2⁻⁴⁰ a network. */
function* uniqueLocal(seed: string): Iterable<Prefix> {
  for (let attempt = 0; attempt < 8; attempt++) {
    const bytes = new Uint8Array(16)
    bytes[0] = 0xfd
    bytes.set(createHash('sha256').update(`${seed} ${attempt}`).digest().subarray(0, 5), 1)
    yield { address: fromBytes(bytes), bits: 64 }
  }
}
