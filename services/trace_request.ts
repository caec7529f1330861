/** A trace as it comes over the API: checked in form here, in meaning by trace.ts. */
import { z } from 'zod'
import { StackError } from '../stack/errors.ts'

const PROTOCOLS = ['icmp', 'udp', 'tcp', 'sctp'] as const
export type TraceProtocol = (typeof PROTOCOLS)[number]

export interface TraceRequest {
  /** A sandbox, one of its interfaces, or the outside: `web1`, `web1/eth0`, `uplink`. */
  readonly from: string
  /** Who sends it; default: the sandbox, and from the uplink its gateway or far side. */
  readonly source?: string
  /** Destination address; may be left out with `raw` only. */
  readonly to?: string
  /** Default `icmp`: an echo request. `tcp` is a SYN, `sctp` an INIT. */
  readonly proto?: TraceProtocol
  /** Default 40000. */
  readonly sport?: number
  /** Default 80, and 33434 (traceroute's) for UDP. */
  readonly dport?: number
  /** Octets of payload; default 56 for ICMP (as ping), else 0. */
  readonly size?: number
  /** TTL or hop limit; default 64. */
  readonly ttl?: number
  /** Don't fragment; default true, as hosts that discover the path MTU send. */
  readonly df?: boolean
  /** Trace the question for `to`'s MAC: an ARP request or a neighbor solicitation. */
  readonly arp?: boolean
  /** A whole Ethernet frame as hexadecimal digits, instead of all the above but `from`. */
  readonly raw?: string
}

const text = z.string().max(300_000)
const count = z.int().nonnegative()

const request = z.strictObject({
  from: text,
  source: text.exactOptional(),
  to: text.exactOptional(),
  proto: z.enum(PROTOCOLS).exactOptional(),
  sport: count.exactOptional(),
  dport: count.exactOptional(),
  size: count.exactOptional(),
  ttl: count.exactOptional(),
  df: z.boolean().exactOptional(),
  arp: z.boolean().exactOptional(),
  raw: text.exactOptional(),
})

/** @throws StackError `bad-argument` that says which field is wrong. */
export function parseTraceRequest(body: unknown): TraceRequest {
  const { success, data, error } = request.safeParse(body)
  if (success) return data
  const faults = error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`)
  throw new StackError('bad-argument', `trace: ${faults.join('; ')}`)
}
