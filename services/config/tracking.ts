/** The parts of a file about connections: `conntrack` and `nat`. */
import { z } from 'zod'
import { StackError } from '../../stack/errors.ts'
import type { Timeouts } from '../../stack/ip/conntrack_timeouts.ts'
import type { Dependence } from '../../stack/ip/port_pool.ts'
import { PORT_MAX } from '../ports.ts'
import { parseDuration } from './duration.ts'
import type { Faults } from './faults.ts'
import type { TrackingConfig } from './model.ts'
import { mapping, parseEntry, text } from './schema.ts'

/** Keys of `timeouts`, by the names that Linux gives them. */
const TIMEOUTS: Readonly<Record<string, keyof Timeouts>> = {
  tcp_syn_sent: 'tcpSynSentMs',
  tcp_syn_recv: 'tcpSynRecvMs',
  tcp_established: 'tcpEstablishedMs',
  tcp_fin_wait: 'tcpFinWaitMs',
  tcp_close_wait: 'tcpCloseWaitMs',
  tcp_last_ack: 'tcpLastAckMs',
  tcp_time_wait: 'tcpTimeWaitMs',
  tcp_close: 'tcpCloseMs',
  tcp_unacknowledged: 'tcpUnacknowledgedMs',
  udp: 'udpMs',
  udp_stream: 'udpStreamMs',
  icmp: 'icmpMs',
  generic: 'genericMs',
}

/** A year: above what anybody waits for, and far below what the table's clock can tell. */
const TIMEOUT_MAX_MS = 8760 * 3_600_000
const TIMEOUT_MIN_MS = 1000
const PORT_MIN = 1024

/** Ports to masquerade with. */
interface Span {
  readonly first: number
  readonly last: number
}

const duration = text(parseTimeout)
const DEPENDENCES = ['endpoint-independent', 'address-dependent', 'endpoint-dependent'] as const
const modes = z.enum(DEPENDENCES)

const conntrackSchema: z.ZodType<ConntrackEntry> = mapping({
  timeouts: mapping(
    Object.fromEntries(Object.keys(TIMEOUTS).map((key) => [key, duration.optional()])),
  ).nullish(),
  reset_expired: z.boolean().optional(),
})

interface ConntrackEntry {
  timeouts?: Record<string, number | undefined> | null | undefined
  reset_expired?: boolean | undefined
}

const natSchema: z.ZodType<NatEntry> = mapping({
  mapping: modes.optional(),
  filtering: modes.optional(),
  ports: text(parseSpan).optional(),
})

interface NatEntry {
  mapping?: Dependence | undefined
  filtering?: Dependence | undefined
  ports?: Span | undefined
}

/** What the file says of connections; defaults where it is silent or has faults, which are told. */
export function parseTracking(
  { conntrack, nat }: { readonly conntrack?: unknown; readonly nat?: unknown },
  faults: Faults,
): TrackingConfig {
  const tracked = parse(conntrackSchema, conntrack, 'conntrack', faults)
  const { mapping: mode, filtering, ports } = parse(natSchema, nat, 'nat', faults)
  const written = Object.entries(tracked.timeouts ?? {}).filter(([, value]) => value !== undefined)
  return {
    timeouts: Object.fromEntries(written.map(([key, value]) => [TIMEOUTS[key]!, value])),
    resetExpired: tracked.reset_expired ?? false,
    nat: {
      ...(mode && { mode }),
      ...(filtering && { filtering }),
      ...(ports && { portMin: ports.first, portMax: ports.last }),
    },
  }
}

function parse<T extends object>(
  schema: z.ZodType<T>,
  value: unknown,
  key: string,
  faults: Faults,
): Partial<T> {
  if (value === undefined || value === null) return {}
  return parseEntry(schema, value, [key], faults) ?? {}
}

/** `2h`, in milliseconds. @throws StackError that says what would be right. */
function parseTimeout(written: string): number {
  const ms = parseDuration(written)
  if (ms >= TIMEOUT_MIN_MS && ms <= TIMEOUT_MAX_MS) return ms
  throw new StackError('bad-config', `"${written}" is not between 1s and 8760h, a year`)
}

/** `20000-29999`. @throws StackError that says what would be right. */
function parseSpan(written: string): Span {
  const [, first, last] = /^(\d{1,5})-(\d{1,5})$/.exec(written) ?? []
  const span = { first: Number(first), last: Number(last) }
  if (span.first >= PORT_MIN && span.first <= span.last && span.last <= PORT_MAX) return span
  const message = `"${written}" is no range of ports from ${PORT_MIN} up, such as "20000-29999"`
  throw new StackError('bad-config', message)
}
