/**
 * A DHCPv4 client for one station on a network outside (RFC 2131 §4.4), which asks in the name of
 * an endpoint: a sandbox gets its address from the network that it is on, without a program in it.
 *
 * ```text
 *   selecting ──OFFER──> requesting ──ACK──> bound ──T1──> renewing ──T2──> rebinding
 *      ↑  ↑                  │ NAK, silence    ↑ ACK ──────────┴───────────────┤
 *      │  └──────────────────┘                                                 │ NAK, lease over
 *      └───────────────────────────────────────────────────────────────────────┘
 * ```
 *
 * Retries wait 4, 8, 16, 32 and then 64 seconds, give or take one (RFC 2131 §4.1), and never end: a
 * network whose server comes late is a network. Renewing asks the server where it was heard from,
 * as an address that is not resolved cannot be stale. Timers are the node's clock's, so that all of
 * it runs in virtual time.
 */
import { type Address, contains, ipv4, type Prefix } from '../../stack/address.ts'
import type { Cancel, Clock } from '../../stack/clock.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import type { Output, Pool } from '../../stack/packet.ts'
import type { Random } from '../../stack/random.ts'
import * as dhcp from '../../stack/udp/dhcp.ts'
import * as value from '../../stack/udp/dhcp_values.ts'
import { sendDatagram } from './send.ts'

const { MessageType, Option } = dhcp

const RETRY_FIRST_MS = 4_000
const RETRY_LAST_MS = 64_000
const JITTER_MS = 1_000
/** REQUESTs without an answer before it begins anew. */
const REQUESTS_MAX = 4
/** RFC 2131 §4.4.5: retries while renewing. */
const RENEW_RETRY_MIN_MS = 60_000
/** A lease of less is taken for this long: else the two would talk all the time. */
const LEASE_MIN_S = 60
/** Longer than timers go, and than anybody waits. */
const LEASE_MAX_S = 1_000_000
const MESSAGE_BYTES = 1400
const MTU_MIN_BYTES = 68
const ASKED = [
  Option.Mask,
  Option.Router,
  Option.Dns,
  Option.Domain,
  Option.Mtu,
  Option.LeaseTime,
  Option.RenewalTime,
  Option.RebindingTime,
]

/** What the network outside gave. */
export interface ClientLease {
  readonly address: Prefix
  readonly router: Address | undefined
  readonly mtuBytes: number | undefined
  readonly dns: readonly Address[]
  readonly leaseMs: number
}

type State = 'selecting' | 'requesting' | 'bound' | 'renewing' | 'rebinding'

interface Held {
  readonly lease: ClientLease
  readonly server: number
  readonly serverMac: Mac
  readonly atMs: number
  readonly t1Ms: number
  readonly t2Ms: number
}

export interface DhcpClientOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly mac: Mac
  /** Told to the server, which may know it by that. */
  readonly hostName: string
  /** Frames towards the network. */
  readonly send: Output
  /** Told of every change; undefined: there is none any more. */
  readonly onLease: (lease: ClientLease | undefined) => void
}

export class DhcpClient {
  readonly mac: Mac
  readonly #o: DhcpClientOptions
  #state: State = 'selecting'
  #xid = 0
  #tries = 0
  #offer: { readonly address: number; readonly server: number } | undefined
  #held: Held | undefined
  #timer: Cancel = () => {}

  constructor(o: DhcpClientOptions) {
    this.mac = o.mac
    this.#o = o
  }

  get state(): State {
    return this.#state
  }

  start(): void {
    this.#begin()
  }

  /** Give the lease back (RFC 2131 §4.4.6), and stop. Idempotent. */
  close(): void {
    this.#timer()
    this.#timer = () => {}
    const held = this.#held
    this.#held = undefined
    if (held === undefined) return
    const server = [Option.Server, value.word(held.server)] as const
    this.#send(MessageType.Release, [server], { held, to: held.serverMac })
  }

  /** True if the answer is for this client, whatever becomes of it. `from`: the frame's source. */
  hears(message: dhcp.DhcpMessage, from: Mac): boolean {
    const { mac } = message
    if (message.request || mac.hi !== this.mac.hi || mac.lo !== this.mac.lo >>> 0) return false
    if (message.xid !== this.#xid >>> 0) return false
    const server = dhcp.addressOption(message, Option.Server)
    if (this.#state === 'selecting') {
      if (message.type === MessageType.Offer && server !== undefined && message.yiaddr !== 0) {
        this.#offer = { address: message.yiaddr, server }
        this.#state = 'requesting'
        this.#tries = 0
        this.#request()
      }
      return true
    }
    if (this.#state === 'bound') return true
    if (message.type === MessageType.Nak) this.#lose()
    else if (message.type === MessageType.Ack) this.#take(message, from)
    return true
  }

  #begin(): void {
    this.#state = 'selecting'
    this.#tries = 0
    this.#offer = undefined
    this.#xid = this.#o.random.bits()
    this.#discover()
  }

  readonly #discover = (): void => {
    this.#send(MessageType.Discover, [])
    this.#again(this.#discover)
  }

  readonly #request = (): void => {
    if (this.#tries >= REQUESTS_MAX) return this.#begin()
    const { address, server } = this.#offer!
    this.#send(MessageType.Request, [
      [Option.Requested, value.word(address)],
      [Option.Server, value.word(server)],
    ])
    this.#again(this.#request)
  }

  #again(run: () => void): void {
    const delayMs = Math.min(RETRY_FIRST_MS * 2 ** this.#tries, RETRY_LAST_MS)
    this.#tries++
    this.#after(delayMs + this.#o.random.below(2 * JITTER_MS) - JITTER_MS, run)
  }

  #after(delayMs: number, run: () => void): void {
    this.#timer()
    this.#timer = this.#o.clock.after(delayMs, run)
  }

  #take(message: dhcp.DhcpMessage, from: Mac): void {
    const lease = leaseOf(message)
    const server = dhcp.addressOption(message, Option.Server) ?? this.#offer?.server
    if (lease === undefined || server === undefined) return
    const { clock } = this.#o
    const seconds = lease.leaseMs / 1000
    const time = (code: number, part: number): number => {
      const said = dhcp.numberOption(message, code)
      const whole = said !== undefined && said > 0 && said < seconds ? said : seconds * part
      return clock.nowMs + whole * 1000
    }
    const before = this.#held?.lease
    this.#held = {
      lease,
      server,
      serverMac: from,
      atMs: clock.nowMs,
      t1Ms: time(Option.RenewalTime, 0.5),
      t2Ms: time(Option.RebindingTime, 0.875),
    }
    this.#state = 'bound'
    this.#after(this.#held.t1Ms - clock.nowMs, this.#renew)
    if (before === undefined || !sameLease(before, lease)) this.#o.onLease(lease)
  }

  /** Ask for more time: the server, after T2 whoever hears it. */
  readonly #renew = (): void => {
    const held = this.#held!
    const { nowMs } = this.#o.clock
    const endMs = held.atMs + held.lease.leaseMs
    if (nowMs >= endMs) return this.#lose()
    const late = nowMs >= held.t2Ms
    if (this.#state === 'bound') this.#xid = this.#o.random.bits()
    this.#state = late ? 'rebinding' : 'renewing'
    this.#send(MessageType.Request, [], late ? { held } : { held, to: held.serverMac })
    const untilMs = (late ? endMs : Math.max(held.t2Ms, nowMs)) - nowMs
    this.#after(Math.min(Math.max(untilMs / 2, RENEW_RETRY_MIN_MS), untilMs), this.#renew)
  }

  #lose(): void {
    const had = this.#held !== undefined
    this.#held = undefined
    if (had) this.#o.onLease(undefined)
    this.#begin()
  }

  #send(
    type: number,
    options: readonly (readonly [number, Uint8Array])[],
    { held, to }: { readonly held?: Held; readonly to?: Mac } = {},
  ): void {
    const { pool, hostName, mac, send } = this.#o
    const own = held === undefined ? 0 : held.lease.address.address.words[3]!
    const asks = type !== MessageType.Release
    const fields: dhcp.MessageFields = {
      request: true,
      xid: this.#xid >>> 0,
      broadcast: false,
      ciaddr: own,
      mac,
      options: [
        [Option.Type, value.octet(type)],
        ...options,
        ...(asks ? ([[Option.Parameters, Uint8Array.from(ASKED)]] as const) : []),
        ...(asks ? ([[Option.MaxBytes, value.half(MESSAGE_BYTES)]] as const) : []),
        ...(asks ? ([[Option.HostName, value.text(hostName)]] as const) : []),
      ],
    }
    const server = to === undefined ? -1 : held!.server
    const datagram = {
      from: { mac, address: own, port: dhcp.CLIENT_PORT },
      to: { mac: to, address: server, port: dhcp.SERVER_PORT },
    }
    sendDatagram(pool, datagram, (mem, at) => dhcp.put(mem, at, fields, MESSAGE_BYTES), send)
  }
}

/** Undefined: it is none that an interface could have. */
function leaseOf(message: dhcp.DhcpMessage): ClientLease | undefined {
  const seconds = dhcp.numberOption(message, Option.LeaseTime)
  const bits = maskBits(dhcp.addressOption(message, Option.Mask))
  const first = message.yiaddr >>> 28
  if (seconds === undefined || bits === undefined || message.yiaddr === 0) return undefined
  if (first >= 0xe || message.yiaddr >>> 24 === 127) return undefined
  const address = { address: ipv4(message.yiaddr), bits }
  const [router] = listOption(message, Option.Router)
  const mtu = dhcp.numberOption(message, Option.Mtu)
  return {
    address,
    router: router !== undefined && contains(address, router) ? router : undefined,
    mtuBytes: mtu !== undefined && mtu >= MTU_MIN_BYTES ? mtu : undefined,
    dns: listOption(message, Option.Dns),
    leaseMs: Math.min(Math.max(seconds, LEASE_MIN_S), LEASE_MAX_S) * 1000,
  }
}

function listOption({ options }: dhcp.DhcpMessage, code: number): Address[] {
  const bytes = options.get(code) ?? new Uint8Array()
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return Array.from({ length: bytes.length >>> 2 }, (_, i) => ipv4(view.getInt32(4 * i)))
}

/** A mask without holes; as a number of bits. */
function maskBits(mask: number | undefined): number | undefined {
  if (mask === undefined) return undefined
  const bits = Math.clz32(~mask)
  return bits > 0 && (bits === 32 || mask << bits === 0) ? bits : undefined
}

function sameLease(a: ClientLease, b: ClientLease): boolean {
  const text = ({ address, router }: ClientLease): string =>
    `${address.address.words} ${address.bits} ${router?.words}`
  return text(a) === text(b)
}
