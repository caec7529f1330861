/**
 * The DHCPv4 server of one network (RFC 2131 §4.3), in the stack: a client's broadcast reaches the
 * gateway as every frame does, and answers leave by the gateway's port of the bridge.
 *
 * ```text
 *   DISCOVER            -> OFFER of what the client is to have; nothing left: silence, a warning
 *   REQUEST selecting   -> ACK of what was offered, else NAK; another server's: silence
 *           init-reboot -> ACK if it may have it, else NAK     (no server id, an address asked for)
 *           renewing    -> ACK if it has it, else NAK          (its address in ciaddr)
 *   DECLINE             -> the address is left alone for a while
 *   RELEASE             -> the address is free, and remembered
 *   INFORM              -> ACK with options only
 * ```
 *
 * An endpoint of the network, or a MAC named in the file, has one address, whatever it asks for;
 * other clients get one of the pool. The server is the only one of its network: so it grants what a
 * client remembers and nobody else has, as after a restart, and refuses what is elsewhere.
 *
 * Messages that came through a relay are not answered: there is no relay in a network of ours, and
 * who sets `giaddr` would have answers sent to others. A relay agent's option without it is not
 * looked at (RFC 3046 §2.2). {@link PER_S} requests a second are answered.
 */
import { type Address, formatAddress, ipv4 } from '../../stack/address.ts'
import { type Cancel, type Clock, every } from '../../stack/clock.ts'
import { DropReason } from '../../stack/drop.ts'
import * as eth from '../../stack/eth/frame.ts'
import { formatMac, isMacAt, type Mac, sameMac } from '../../stack/eth/mac.ts'
import { headerBytes } from '../../stack/ip/ipv4.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import { TokenBucket } from '../../stack/ip/token_bucket.ts'
import * as udp from '../../stack/ip/udp.ts'
import type { Packet, Pool } from '../../stack/packet.ts'
import * as dhcp from '../../stack/udp/dhcp.ts'
import type { Log } from '../log.ts'
import type { DhcpState } from '../state.ts'
import { type Lease, Leases } from './leases.ts'
import { replyOptions } from './options.ts'
import { type Datagram, sendDatagram } from './send.ts'

const { MessageType, Option } = dhcp

/** Requests a second, and at once. */
const PER_S = 50
const BURST = 200
const EXPIRE_MS = 30_000
/** An empty pool is told of at most this often. */
const SAID_EVERY_MS = 60_000
const HOST_NAME_MAX = 63

/** What the server asks and tells its network. */
export interface DhcpNetwork {
  readonly name: string
  /** The address of the endpoint with that MAC; undefined: it is none, or has none. */
  endpointOf(mac: Mac): Address | undefined
  /** True if an endpoint, a service or the gateway has it. */
  isTaken(address: Address): boolean
  /** The address is at that MAC, behind the device of counters port `port`. */
  bind(address: Address, mac: Mac, port: number): void
  unbind(address: Address): void
}

export interface DhcpServerOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly log: Log
  readonly leg: RouterInterface
  readonly state: DhcpState
  readonly network: DhcpNetwork
}

/** One client's address, for listings. */
export interface LeaseInfo {
  readonly address: string
  readonly mac: string
  readonly hostName: string
  /** `static`: of an endpoint or of the file. */
  readonly kind: Lease['kind'] | 'static'
  readonly expiresInMs: number
}

export class DhcpServer {
  readonly #o: DhcpServerOptions
  readonly #leases: Leases
  readonly #bucket = new TokenBucket({ perS: PER_S, burst: BURST })
  readonly #stop: Cancel
  /** Who of the fixed ones asked: MAC by address. */
  readonly #fixed = new Map<number, LeaseInfo & { readonly untilMs: number }>()
  #refused = 0
  #saidMs = Number.NEGATIVE_INFINITY

  constructor(o: DhcpServerOptions) {
    this.#o = o
    const { state, clock, network } = o
    const held = new Set(state.hosts.map((host) => host.address.words[3]!))
    const pool = { first: state.first.words[3]! >>> 0, last: state.last.words[3]! >>> 0 }
    this.#leases = new Leases(clock, pool, (address) => {
      return !held.has(address) && !network.isTaken(ipv4(address))
    })
    this.#stop = every(clock, EXPIRE_MS, () => {
      for (const lease of this.#leases.expire()) network.unbind(ipv4(lease.address))
    })
  }

  /** A datagram to port 67, `head` at the Ethernet header. Takes ownership. */
  receive(packet: Packet): void {
    const { pool, clock } = this.#o
    const { mem } = pool
    const ip = packet.head + eth.HEADER_BYTES
    const at = ip + headerBytes(mem, ip)
    const bytes = packet.head + packet.len - at
    const message = dhcp.parse(mem, at + udp.HEADER_BYTES, bytes - udp.HEADER_BYTES)
    const good =
      message?.request === true &&
      message.giaddr === 0 &&
      isMacAt(mem, packet.head + eth.SRC, message.mac)
    if (!good) return pool.drop(packet, DropReason.DhcpMalformed)
    if (!this.#bucket.take(clock.nowMs)) return pool.drop(packet, DropReason.DhcpLimited)
    const { ingress } = packet
    pool.drop(packet, DropReason.Delivered)
    this.#answer(message, ingress)
  }

  /** Addresses that clients hold now, as IPAM must not give them to others. */
  held(): Address[] {
    const kept = this.#leases.list().filter(({ kind }) => kind !== 'free')
    return kept.map(({ address }) => ipv4(address))
  }

  list(): LeaseInfo[] {
    const { nowMs } = this.#o.clock
    const leased = this.#leases.list().map(({ address, mac, hostName, kind, untilMs }) => ({
      address: formatAddress(ipv4(address)),
      mac: formatMac(mac),
      hostName,
      kind,
      expiresInMs: Math.max(0, Math.round(untilMs - nowMs)),
    }))
    const fixed = [...this.#fixed.values()].map(({ untilMs, ...info }) => ({
      ...info,
      expiresInMs: Math.max(0, Math.round(untilMs - nowMs)),
    }))
    return [...fixed, ...leased]
  }

  /** Of the pool: its size, what is in use, and clients that got nothing. */
  usage(): { readonly size: number; readonly used: number; readonly refused: number } {
    return { size: this.#leases.size, used: this.#leases.used, refused: this.#refused }
  }

  /** A device is gone: what was behind it is not there any more, and its leases go on. */
  forgetPort(port: number): void {
    for (const lease of this.#leases.list()) {
      if (lease.port === port && lease.kind === 'bound') {
        this.#o.network.unbind(ipv4(lease.address))
      }
    }
  }

  close(): void {
    this.#stop()
  }

  #answer(message: dhcp.DhcpMessage, port: number): void {
    const client = clientOf(message)
    switch (message.type) {
      case MessageType.Discover:
        return this.#discover(message, client, port)
      case MessageType.Request:
        return this.#request(message, client, port)
      case MessageType.Decline:
        return this.#decline(message, client)
      case MessageType.Release:
        return this.#release(message, client)
      case MessageType.Inform:
        return this.#reply(message, MessageType.Ack, 0)
    }
  }

  #discover(message: dhcp.DhcpMessage, client: string, port: number): void {
    const fixed = this.#fixedOf(message.mac)
    if (fixed !== undefined) return this.#reply(message, MessageType.Offer, fixed)
    const wanted = dhcp.addressOption(message, Option.Requested)
    const address = this.#leases.choose(client, wanted)
    if (address === undefined) return this.#exhausted(message)
    this.#leases.offer({ ...this.#identity(message, client, port), address })
    this.#reply(message, MessageType.Offer, address)
  }

  #request(message: dhcp.DhcpMessage, client: string, port: number): void {
    const server = dhcp.addressOption(message, Option.Server)
    const asked = dhcp.addressOption(message, Option.Requested)
    if (server !== undefined && server !== this.#own) {
      const lease = this.#leases.of(client)
      if (lease?.kind === 'offered') this.#leases.forget(lease)
      return
    }
    const address = message.ciaddr !== 0 ? message.ciaddr : asked
    if (address === undefined) return
    const fixed = this.#fixedOf(message.mac)
    if (fixed !== undefined) {
      if (fixed !== address) return this.#nak(message, 'another address is yours')
      this.#noteFixed(message, fixed)
      return this.#reply(message, MessageType.Ack, fixed)
    }
    const before = this.#leases.of(client)
    const other = before !== undefined && before.kind !== 'free' && before.address !== address
    if (other || !this.#leases.mayHave(client, address)) {
      return this.#nak(message, 'that address is not yours')
    }
    if (server !== undefined && before === undefined) {
      return this.#nak(message, 'the offer is too old')
    }
    this.#leases.bind({ ...this.#identity(message, client, port), address }, this.#o.state.leaseMs)
    try {
      this.#o.network.bind(ipv4(address), message.mac, port)
    } catch (error) {
      const { name } = this.#o.network
      this.#o.log.error({ err: error, network: name }, 'an address was leased without a binding')
    }
    this.#reply(message, MessageType.Ack, address)
  }

  #decline(message: dhcp.DhcpMessage, client: string): void {
    const lease = this.#leases.of(client)
    const asked = dhcp.addressOption(message, Option.Requested)
    const address = asked === undefined ? '' : formatAddress(ipv4(asked))
    const { network, log } = this.#o
    const facts = { network: network.name, address, mac: formatMac(message.mac) }
    log.warn(facts, `${facts.mac} says that another machine has ${address}`)
    if (lease === undefined || lease.address !== asked) return
    if (lease.kind === 'bound') network.unbind(ipv4(lease.address))
    this.#leases.decline(lease)
  }

  #release(message: dhcp.DhcpMessage, client: string): void {
    const fixed = this.#fixedOf(message.mac)
    if (fixed !== undefined && fixed === message.ciaddr) this.#fixed.delete(fixed)
    const lease = this.#leases.of(client)
    if (lease?.kind !== 'bound' || lease.address !== message.ciaddr) return
    this.#o.network.unbind(ipv4(lease.address))
    this.#leases.release(lease)
  }

  /** Its address as a word, if a client has one that is decided. */
  #fixedOf(mac: Mac): number | undefined {
    const { network, state } = this.#o
    const host = state.hosts.find((named) => sameMac(named.mac, mac))?.address
    return (network.endpointOf(mac) ?? host)?.words[3]
  }

  #noteFixed(message: dhcp.DhcpMessage, address: number): void {
    const { clock, state } = this.#o
    this.#fixed.set(address, {
      address: formatAddress(ipv4(address)),
      mac: formatMac(message.mac),
      hostName: hostNameOf(message),
      kind: 'static',
      expiresInMs: 0,
      untilMs: clock.nowMs + state.leaseMs,
    })
  }

  #identity(
    message: dhcp.DhcpMessage,
    client: string,
    port: number,
  ): Omit<Lease, 'address' | 'kind' | 'untilMs'> {
    return { client, mac: message.mac, hostName: hostNameOf(message), port }
  }

  #exhausted(message: dhcp.DhcpMessage): void {
    const { clock, log, network, state } = this.#o
    this.#refused++
    if (clock.nowMs - this.#saidMs < SAID_EVERY_MS) return
    this.#saidMs = clock.nowMs
    const range = `${formatAddress(state.first)} to ${formatAddress(state.last)}`
    const mac = formatMac(message.mac)
    const why = `no address left to lease on network ${network.name} (${range})`
    log.warn({ network: network.name, mac, refused: this.#refused }, `${why}: ${mac} gets none`)
  }

  get #own(): number {
    return this.#o.state.server.words[3]!
  }

  #nak(message: dhcp.DhcpMessage, why: string): void {
    this.#send(message, 0, {
      request: false,
      xid: message.xid,
      broadcast: true,
      mac: message.mac,
      options: replyOptions(this.#o.state, MessageType.Nak, message, why),
    })
  }

  #reply(message: dhcp.DhcpMessage, type: number, address: number): void {
    const { state } = this.#o
    this.#send(message, address, {
      request: false,
      xid: message.xid,
      broadcast: message.broadcast,
      ciaddr: type === MessageType.Ack ? message.ciaddr : 0,
      yiaddr: address,
      mac: message.mac,
      options: replyOptions(state, type, message, ''),
    })
  }

  /** To the client's address if it has one, else where it says (RFC 2131 §4.1). */
  #send(message: dhcp.DhcpMessage, address: number, fields: dhcp.MessageFields): void {
    const { pool, leg, state } = this.#o
    const isNak = address === 0 && message.type !== MessageType.Inform
    const known = isNak ? 0 : message.ciaddr
    const everybody = known === 0 && (isNak || message.broadcast)
    const to: Datagram = {
      from: { mac: leg.mac, address: state.server.words[3]!, port: dhcp.SERVER_PORT },
      to: {
        mac: everybody ? undefined : message.mac,
        address: everybody ? -1 : known || address,
        port: dhcp.CLIENT_PORT,
      },
    }
    const bytesMax = Math.min(dhcp.maxBytes(message), leg.mtuBytes) - dhcp.HEADERS_BYTES
    sendDatagram(pool, to, (mem, at) => dhcp.put(mem, at, fields, bytesMax), leg.link.output)
  }
}

/** By its identifier if it gives one, else by its MAC (RFC 2131 §4.2). */
function clientOf({ options, mac }: dhcp.DhcpMessage): string {
  const id = options.get(Option.ClientId)
  if (id !== undefined && id.length > 1) return `id ${Buffer.from(id).toString('hex')}`
  return `mac ${formatMac(mac)}`
}

/** As far as it can be printed. */
function hostNameOf({ options }: dhcp.DhcpMessage): string {
  const bytes = options.get(Option.HostName) ?? new Uint8Array()
  const name = Buffer.from(bytes).toString('latin1').slice(0, HOST_NAME_MAX)
  return /^[\x21-\x7e]*$/.test(name) ? name : ''
}
