/**
 * What tests of this folder share: messages built octet by octet from the RFCs' layouts, without
 * the code under test, and a pool whose packets end in lists.
 */
import { expect } from 'vitest'
import { parseAddress, parsePrefix, toBytes } from '../../stack/address.ts'
import type { NeighborLink } from '../../stack/arp/neighbor_link.ts'
import { Neighbors, type NeighborsOptions } from '../../stack/arp/neighbors.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Counters } from '../../stack/counters.ts'
import { DROP_COUNT, DROP_NAMES, type DropName, DropReason } from '../../stack/drop.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { type Output, type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'

export const A = '02:00:00:00:00:0a'
export const B = '02:00:00:00:00:0b'
export const C = '02:00:00:00:00:0c'
export const GATEWAY = '02:00:00:00:00:01'
export const BROADCAST = 'ff:ff:ff:ff:ff:ff'
export const NO_MAC = '00:00:00:00:00:00'
export const ALL_NODES = '33:33:00:00:00:01'

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

export function unhex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'))
}

function macBytes(mac: string): number[] {
  return mac.split(':').map((pair) => Number.parseInt(pair, 16))
}

function ipBytes(ip: string): number[] {
  return [...toBytes(parseAddress(ip))]
}

export interface ArpFields {
  readonly oper?: number
  readonly sha: string
  readonly spa: string
  readonly tha?: string
  readonly tpa: string
  /** Ethernet header; left out: broadcast, and from `sha`. */
  readonly dst?: string
  readonly src?: string
}

export function arpFrame(fields: ArpFields): Uint8Array {
  const { oper = 1, sha, spa, tha = NO_MAC, tpa, dst = BROADCAST, src = sha } = fields
  const message = [0, 1, 8, 0, 6, 4, 0, oper, ...macBytes(sha), ...ipBytes(spa)]
  const target = [...macBytes(tha), ...ipBytes(tpa)]
  return Uint8Array.from([...macBytes(dst), ...macBytes(src), 8, 6, ...message, ...target])
}

export interface NdFields {
  /** 135: solicitation, 136: advertisement. */
  readonly type: number
  readonly src: string
  readonly dst: string
  readonly target: string
  readonly flags?: number
  /** MAC of the option that belongs to the type; left out: no option. */
  readonly mac?: string
  readonly options?: readonly number[]
  readonly hopLimit?: number
  readonly code?: number
  readonly etherDst: string
  readonly etherSrc: string
  /** Extension headers before ICMPv6, and the first one's number. */
  readonly extension?: { readonly next: number; readonly bytes: readonly number[] }
}

/** Flags of an advertisement. */
export const R = 0x80
export const S = 0x40
export const O = 0x20

export function ndFrame(fields: NdFields): Uint8Array {
  const { type, flags = 0, mac, hopLimit = 255, code = 0, extension } = fields
  const own = mac === undefined ? [] : [type === 135 ? 1 : 2, 1, ...macBytes(mac)]
  const options = fields.options ?? own
  const body = [flags, 0, 0, 0, ...ipBytes(fields.target), ...options]
  const icmp = [type, code, 0, 0, ...body]
  const [src, dst] = [ipBytes(fields.src), ipBytes(fields.dst)]
  const pseudo = [...src, ...dst, 0, 0, icmp.length >> 8, icmp.length & 0xff, 0, 0, 0, 58]
  const checksum = naiveChecksum([...pseudo, ...icmp])
  icmp[2] = checksum >> 8
  icmp[3] = checksum & 0xff
  const payload = [...(extension?.bytes ?? []), ...icmp]
  const ip = [0x60, 0, 0, 0, payload.length >> 8, payload.length & 0xff]
  const ether = [...macBytes(fields.etherDst), ...macBytes(fields.etherSrc), 0x86, 0xdd]
  return Uint8Array.from([
    ...ether,
    ...ip,
    extension?.next ?? 58,
    hopLimit,
    ...src,
    ...dst,
    ...payload,
  ])
}

function naiveChecksum(bytes: readonly number[]): number {
  let total = 0
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i]! << 8) | (bytes[i + 1] ?? 0)
  while (total > 0xffff) total = (total & 0xffff) + (total >> 16)
  return ~total & 0xffff
}

/** The frame with priority tags (or VLANs) after its addresses. */
export function tagged(frame: Uint8Array, ...tags: readonly number[][]): Uint8Array {
  return Uint8Array.from([...frame.slice(0, 12), ...tags.flat(), ...frame.slice(12)])
}

export class Lab {
  readonly counters: Counters = new Counters()
  readonly pool: Pool
  readonly clock: VirtualClock = new VirtualClock()
  readonly random: Random = new Random(7)

  constructor(smallCount = 64) {
    const counts = { smallCount, largeCount: 2, checked: true }
    this.pool = new Pool({ ...counts, counters: this.counters })
  }

  /** A packet with these octets at its head. */
  packet(bytes: Uint8Array, facts: Partial<Packet> = {}): Packet {
    const packet = this.pool.alloc(bytes.length)
    if (packet === undefined) throw new Error('the lab has no packet left')
    this.pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    return Object.assign(packet, facts)
  }

  /** An output that notes octets in hex and frees. */
  sink(list: string[]): Output {
    return (packet) => {
      list.push(hex(this.pool.mem.slice(packet.head, packet.head + packet.len)))
      this.pool.free(packet)
    }
  }

  drops(reason: DropName, port = 0): number {
    return this.counters.drops(port, DROP_NAMES.indexOf(reason))
  }

  /** Drops of all reasons, over the few ports that these tests use. */
  allDrops(): number {
    let total = 0
    for (let port = 0; port < 4; port++) {
      for (let reason = 0; reason < DROP_COUNT; reason++) total += this.counters.drops(port, reason)
    }
    return total
  }

  wait(ms: number): void {
    const untilMs = this.clock.nowMs + ms
    while (this.clock.step(untilMs)) {}
    this.clock.jump(untilMs)
  }
}

/** A router on one link, 10.1.0.1/24 and fd00:1::1/64, whose frames and failures are noted. */
export class NeighborLab extends Lab {
  readonly neighbors: Neighbors
  readonly sent: string[] = []
  readonly failed: string[] = []
  readonly changed: string[] = []
  /** Called for each frame before it is noted: to answer at once. */
  onOutput: (frame: Uint8Array) => void = () => {}
  readonly link: NeighborLink

  constructor(options: Partial<NeighborsOptions> = {}, smallCount = 64) {
    super(smallCount)
    const { pool, clock, random } = this
    const note = this.sink(this.failed)
    this.neighbors = new Neighbors({
      pool,
      clock,
      random,
      unreachable: (_, packet) => {
        this.counters.dropped(0, DropReason.NeighborFailed)
        note(packet)
      },
      changed: (link, words) => this.changed.push(`${link.name} ${words[3]! >>> 0}`),
      ...options,
    })
    this.link = this.makeLink(0, 'front')
    this.neighbors.addLink(this.link)
  }

  makeLink(index: number, name: string): NeighborLink {
    const note = this.sink(this.sent)
    return {
      index,
      name,
      mac: parseMac(GATEWAY),
      output: (packet) => {
        this.onOutput(this.pool.mem.slice(packet.head, packet.head + packet.len))
        note(packet)
      },
      addresses: ['10.1.0.1/24', 'fd00:1::1/64', 'fe80::ff:fe00:1/64'].map(parsePrefix),
    }
  }

  /** Send an IP packet of that family to a next hop, marked by its last octet. */
  send(
    nextHop: string,
    mark = 0,
    facts: Partial<Packet> = {},
    link: NeighborLink = this.link,
  ): void {
    const address = parseAddress(nextHop)
    const packet = this.packet(ipPacket(address.family, mark), facts)
    this.neighbors.send(link, packet, address.words, 0)
  }

  /** Frames sent since the last call. */
  take(): string[] {
    return this.sent.splice(0)
  }

  receive(frame: Uint8Array, facts: Partial<Packet> = {}): void {
    const packet = this.packet(frame, facts)
    const arp = frame[12] === 0x08 && frame[13] === 0x06
    if (arp) this.neighbors.receiveArp(this.link, packet)
    else this.neighbors.receiveNd(this.link, packet)
  }

  state(address: string): string | undefined {
    return this.neighbors.list().find((entry) => entry.address === address)?.state
  }

  macOf(address: string): string | undefined {
    return this.neighbors.list().find((entry) => entry.address === address)?.mac
  }

  /** Close, and check that nothing is left. */
  balance(): void {
    this.neighbors.close()
    expect(this.neighbors.list()).toEqual([])
    expect(this.clock.pending).toBe(0)
    expect(this.pool.leaks()).toEqual([])
  }
}

/** The smallest thing that passes for an IP packet below IP: a version, and a mark at the end. */
export function ipPacket(family: 4 | 6, mark: number): Uint8Array {
  const bytes = new Uint8Array(family === 4 ? 20 : 40)
  bytes[0] = family === 4 ? 0x45 : 0x60
  bytes[bytes.length - 1] = mark
  return bytes
}

/** The frame in which {@link ipPacket} goes to a MAC. */
export function dataFrame(dst: string, family: 4 | 6, mark: number): string {
  const ether = [...macBytes(dst), ...macBytes(GATEWAY), ...(family === 4 ? [8, 0] : [0x86, 0xdd])]
  return hex(Uint8Array.from(ether)) + hex(ipPacket(family, mark))
}
