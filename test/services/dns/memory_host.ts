/**
 * Resolvers outside, in memory and on the fabric's clock: each is a function from a query to
 * what it sends back. Whatever that is goes out as it is, so it can be as hostile as it likes.
 */
import dns from 'dns-packet'
import {
  type DnsHost,
  formatServer,
  type HostResolvers,
  type Server,
  type ServerListener,
  type ServerSocket,
} from '../../../services/dns/host.ts'
import { parseAddress } from '../../../stack/address.ts'
import type { Clock } from '../../../stack/clock.ts'
import { Random } from '../../../stack/random.ts'

export interface Asked {
  readonly message: Buffer
  readonly packet: dns.DecodedPacket
  readonly way: 'udp' | 'tcp'
}

/** What comes back: octets, each after so many milliseconds; an Error: the socket fails. */
export type Behavior = (asked: Asked) => readonly (Uint8Array | Error)[]

const LATENCY_MS = 5

export class MemoryHost implements DnsHost {
  readonly asked: { readonly server: string; readonly name: string; readonly way: string }[] = []
  /** By address, and where they are asked from: `192.0.2.53`, `192.0.2.53 from web`. */
  readonly servers: Map<string, Behavior> = new Map()
  /** Given: sandboxes have an inside, from which their own forwarders are asked. */
  listen?: NonNullable<DnsHost['listen']>
  setResolvConf?: NonNullable<DnsHost['setResolvConf']>
  watchResolvers?: NonNullable<DnsHost['watchResolvers']>
  host: HostResolvers = { servers: [parseAddress('192.0.2.53')], search: [] }
  open = 0
  clock!: Clock
  readonly #random = new Random(99)

  random16(): number {
    return this.#random.bits() & 0xffff
  }

  udp(server: Server, listener: ServerListener): ServerSocket {
    return this.#socket('udp', server, listener)
  }

  tcp(server: Server, listener: ServerListener): ServerSocket {
    return this.#socket('tcp', server, listener)
  }

  resolvers(): HostResolvers {
    return this.host
  }

  #socket(way: 'udp' | 'tcp', asked: Server, listener: ServerListener): ServerSocket {
    const server = formatServer(asked)
    let open = true
    this.open++
    return {
      send: (octets) => {
        const message = Buffer.from(octets)
        const packet = dns.decode(message)
        this.asked.push({ server, name: packet.questions![0]!.name.toLowerCase(), way })
        const answers = this.servers.get(server)?.({ message, packet, way }) ?? []
        for (const [i, answer] of answers.entries()) {
          this.clock.after(LATENCY_MS * (i + 1), () => {
            if (!open) return
            if (answer instanceof Error) listener.failed(answer.message)
            else listener.heard(answer)
          })
        }
      },
      close: () => {
        if (open) this.open--
        open = false
      },
    }
  }
}

type Records = readonly (dns.Answer | Record<string, unknown>)[]

/** An honest answer to `asked`. */
export function reply(
  { packet }: Asked,
  o: {
    readonly answers?: Records
    readonly authorities?: Records
    readonly additionals?: Records
    readonly rcode?: number
    readonly flags?: number
  } = {},
): Buffer {
  const { answers = [], authorities = [], additionals = [], rcode = 0, flags = 0 } = o
  return dns.encode({
    type: 'response',
    id: packet.id!,
    flags: dns.RECURSION_DESIRED | dns.RECURSION_AVAILABLE | flags | rcode,
    questions: packet.questions!,
    answers: answers as dns.Answer[],
    authorities: authorities as dns.Answer[],
    additionals: additionals as dns.Answer[],
  })
}

/** A server of one zone in memory. */
export function zone(addresses: Readonly<Record<string, string>>, ttl = 300): Behavior {
  return (asked) => {
    const [question] = asked.packet.questions!
    const data = addresses[question!.name.toLowerCase()]
    if (data === undefined) {
      const soa = {
        mname: 'ns.example',
        rname: 'root.example',
        serial: 1,
        refresh: 1,
        retry: 1,
        expire: 1,
        minimum: 60,
      }
      const authority = { type: 'SOA', name: 'example', ttl: 120, data: soa }
      return [reply(asked, { rcode: 3, authorities: [authority] })]
    }
    if (question!.type !== 'A') return [reply(asked)]
    return [reply(asked, { answers: [{ type: 'A', name: question!.name, ttl, data }] })]
  }
}
