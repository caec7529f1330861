/**
 * A router with address translation: networks `front` and `back` whose hosts are masqueraded, and
 * an uplink. Packets are told as lines, such as `up 203.0.113.2:5000 > 198.51.100.9:53 udp`.
 */
import { expect } from 'vitest'
import { type Family, formatAddress, fromBytes, parseAddress } from '../../stack/address.ts'
import { finish } from '../../stack/checksum.ts'
import type { Balance } from '../../stack/ip/balance.ts'
import { Conntrack } from '../../stack/ip/conntrack.ts'
import { Nat, type NatPolicy } from '../../stack/ip/nat.ts'
import type { NatNetwork } from '../../stack/ip/nat_legs.ts'
import type { PortMapping } from '../../stack/ip/nat_rules.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import { Random } from '../../stack/random.ts'
import { ipOf, isTransportIntact, Lab, type Sent, u16 } from './lab.ts'

/** Addresses of a family, by role. */
export interface Plan {
  readonly family: Family
  readonly gateway: string
  readonly client: string
  readonly sibling: string
  readonly backGateway: string
  readonly server: string
  readonly uplink: string
  readonly outside: string
  readonly outside2: string
}

export const PLAN4: Plan = {
  family: 4,
  gateway: '10.1.0.1',
  client: '10.1.0.11',
  sibling: '10.1.0.12',
  backGateway: '10.2.0.1',
  server: '10.2.0.22',
  uplink: '203.0.113.2',
  outside: '198.51.100.9',
  outside2: '198.51.100.10',
}

export const PLAN6: Plan = {
  family: 6,
  gateway: 'fd00:1::1',
  client: 'fd00:1::11',
  sibling: 'fd00:1::12',
  backGateway: 'fd00:2::1',
  server: 'fd00:2::22',
  uplink: '2001:db8::2',
  outside: '2001:db8:9::9',
  outside2: '2001:db8:9::10',
}

export const MASQUERADED: NatNetwork = {
  masquerade4: 'interface',
  masquerade6: 'interface',
  inbound4: 'published',
  inbound6: 'published',
}

export class NatLab extends Lab {
  readonly conntrack: Conntrack
  readonly nat: Nat
  readonly front: RouterInterface
  readonly back: RouterInterface
  readonly up: RouterInterface

  constructor(options: NatPolicy & { readonly entriesMax?: number } = {}) {
    let nat: Nat | undefined
    let conntrack: Conntrack | undefined
    super({
      hooks: ({ pool, clock }, parts) => {
        const { entriesMax = 10_000 } = options
        conntrack = new Conntrack({ pool, clock, seed: 1, entriesMax })
        nat = new Nat({ pool, clock, random: new Random(2), conntrack, ...parts, ...options })
        return nat
      },
    })
    this.nat = nat!
    this.conntrack = conntrack!
    this.front = this.leg('front', ['10.1.0.1/24', 'fd00:1::1/64'])
    this.back = this.leg('back', ['10.2.0.1/24', 'fd00:2::1/64'])
    this.up = this.leg('up', ['203.0.113.2/24', '2001:db8::2/64'])
    for (const { client, sibling, server } of [PLAN4, PLAN6]) {
      this.host(this.front, client)
      this.host(this.front, sibling)
      this.host(this.back, server)
    }
    this.host(this.up, '203.0.113.1')
    this.host(this.up, '2001:db8::1')
    this.route('0.0.0.0/0', '203.0.113.1')
    this.route('::/0', '2001:db8::1')
    this.nat.setNetwork(this.front, MASQUERADED)
    this.nat.setNetwork(this.back, MASQUERADED)
    this.nat.setExternal(this.up, true)
  }

  /** What the router sends when it is given a packet, as lines. */
  lines(leg: RouterInterface, packet: Uint8Array): string[] {
    this.ip(leg, packet)
    return this.take().map(lineOf)
  }

  /** The one line of {@link lines}. */
  line(leg: RouterInterface, packet: Uint8Array): string {
    const all = this.lines(leg, packet)
    expect(all.length, `lines: ${all.join(', ')}`).toBe(1)
    return all[0]!
  }

  override end(): void {
    this.nat.close()
    this.conntrack.close()
    expect(this.nat.hairpins).toBe(0)
    expect(this.nat.mappings).toBe(0)
    super.end()
  }
}

const NAMES: Readonly<Record<number, string>> = {
  1: 'icmp',
  6: 'tcp',
  17: 'udp',
  47: 'gre',
  58: 'icmp6',
  132: 'sctp',
}

function lineOf(sent: Sent): string {
  const bytes = sent.bytes.slice()
  if (sent.csumStart !== 0) finish(bytes, sent.csumStart, sent.csumOffset, bytes.length)
  const ip = ipOf({ ...sent, bytes })
  return `${sent.leg} ${describeIp(ip, true)}`
}

/** Whole packets must have intact checksums. */
export function describeIp(ip: Uint8Array, whole: boolean): string {
  const six = ip[0]! >>> 4 === 6
  const protocol = six ? ip[6]! : ip[9]!
  const later = !six && (u16(ip, 6) & 0x1fff) !== 0
  const fragment = !six && (u16(ip, 6) & 0x3fff) !== 0
  const at = six ? 40 : (ip[0]! & 15) * 4
  const from = formatAddress(fromBytes(six ? ip.slice(8, 24) : ip.slice(12, 16)))
  const to = formatAddress(fromBytes(six ? ip.slice(24, 40) : ip.slice(16, 20)))
  const icmp = protocol === 1 || protocol === 58
  const ported = (protocol === 6 || protocol === 17) && !later
  if (whole && (icmp || ported) && !fragment) {
    expect(isTransportIntact(protocol === 1 ? withoutPseudo(ip) : ip), 'checksum').toBe(true)
  }
  const name = NAMES[protocol] ?? `${protocol}`
  if (later) return `${from} > ${to} ${name} fragment`
  if (icmp) {
    const type = ip[at]!
    const error = six ? type < 128 : type === 3 || type === 11 || type === 12
    if (error) return `${from} > ${to} ${name} ${type} [${describeIp(ip.slice(at + 8), false)}]`
    return `${from} > ${to} ${name} ${type} id ${u16(ip, at + 4)}`
  }
  if (!ported && protocol !== 132) return `${from} > ${to} ${name}`
  return `${end(from, u16(ip, at))} > ${end(to, u16(ip, at + 2))} ${name}`
}

/** ICMP's checksum has no pseudo-header: addresses and the rest of it that sum up to nothing. */
function withoutPseudo(ip: Uint8Array): Uint8Array {
  const copy = ip.slice()
  const bytes = ip.length - (ip[0]! & 15) * 4
  const nothing = 0xffff - bytes - 1
  copy.fill(0, 12, 20)
  copy.set([nothing >>> 8, nothing & 0xff], 12)
  return copy
}

export function end(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** A mapping of one TCP port, or as told. */
export function mappingOf(target: string, fields: Partial<PortMapping> = {}): PortMapping {
  return {
    protocol: 6,
    address: undefined,
    port: 8080,
    count: 1,
    target: parseAddress(target),
    targetPort: 80,
    ...fields,
  }
}

/** Each backend in its turn; keeps the books. */
export class Turns implements Balance {
  readonly open: number[]
  readonly forgot: number[]
  readonly failures: number[]
  next = 0
  readonly #addresses: readonly Int32Array[]

  constructor(targets: readonly string[]) {
    this.#addresses = targets.map((text) => parseAddress(text).words)
    this.open = targets.map(() => 0)
    this.forgot = targets.map(() => 0)
    this.failures = targets.map(() => 0)
  }

  pick(): number {
    return this.#addresses.length === 0 ? -1 : this.next++ % this.#addresses.length
  }

  addressWords(backend: number): Int32Array {
    return this.#addresses[backend]!
  }

  opened(backend: number): void {
    this.open[backend]!++
  }

  closed(backend: number): void {
    this.open[backend]!--
  }

  reopened(backend: number): void {
    this.open[backend]!++
  }

  forgotten(backend: number): void {
    this.forgot[backend]!++
  }

  failed(backend: number): void {
    this.failures[backend]!++
  }
}
