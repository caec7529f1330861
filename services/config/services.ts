/**
 * The part of a file about services: virtual addresses of networks that stand for several
 * sandboxes, and how connections to them are spread.
 */
import { z } from 'zod'
import { type Address, parseAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import type { SchedulerName } from '../../stack/ip/schedulers.ts'
import { PORT_MAX, type PortConfig } from '../ports.ts'
import { parseDuration } from './duration.ts'
import { describe } from './explain.ts'
import type { Faults, Path } from './faults.ts'
import {
  type BackendConfig,
  type HealthcheckConfig,
  SCHEDULERS,
  type ServiceConfig,
  type ServicePort,
} from './model.ts'
import { parsePort } from './outside.ts'
import { aliasName, mapping, parseEntry, parseList, text } from './schema.ts'

/** As much as tells backends apart; the tables of schedulers grow with it. */
const WEIGHT_MAX = 256
/** Checks more often than this would be load, and seldom ones no checks. */
const INTERVAL_MIN_MS = 100
const DAY_MS = 86_400_000
const TRIES_MAX = 100
const DNS_PORT = 53
/** What Kubernetes has: three hours. */
const AFFINITY_MS = 10_800_000

const address = text(parseAddress)
const port = z.number().int().min(1).max(PORT_MAX)
const tries = z.number().int().min(1).max(TRIES_MAX)

function duration(leastMs: number): z.ZodType<number> {
  return text((written) => {
    const ms = parseDuration(written)
    if (ms >= leastMs && ms <= DAY_MS) return ms
    throw new StackError('bad-config', `"${written}" is not between ${leastMs}ms and 24h`)
  })
}

const healthcheckSchema: z.ZodType<HealthcheckEntry> = mapping(
  {
    type: z.enum(['tcp', 'http', 'icmp', 'udp', 'dns']).optional(),
    port: port.optional(),
    path: z.string().optional(),
    interval: duration(INTERVAL_MIN_MS).optional(),
    timeout: duration(1).optional(),
    retries: tries.optional(),
    rise: tries.optional(),
    slow_start: duration(0).optional(),
  },
  ['test', 'start_period', 'start_interval', 'disable'],
)

interface HealthcheckEntry {
  type?: HealthcheckConfig['type'] | undefined
  port?: number | undefined
  path?: string | undefined
  interval?: number | undefined
  timeout?: number | undefined
  retries?: number | undefined
  rise?: number | undefined
  slow_start?: number | undefined
}

const serviceSchema: z.ZodType<ServiceEntry> = mapping(
  {
    network: z.string(),
    vip: z.union([address, z.array(address)]).optional(),
    endpoint_mode: z.enum(['vip', 'dnsrr']).optional(),
    ports: z.unknown().optional(),
    scheduler: z.enum(SCHEDULERS).optional(),
    backends: z.unknown(),
    healthcheck: z.unknown().optional(),
    affinity: z.enum(['none', 'client_ip']).optional(),
    affinity_timeout: duration(1000).optional(),
    aliases: z.array(aliasName).optional(),
    dns_answers: z.enum(['ready', 'all']).optional(),
  },
  ['labels', 'deploy'],
)

interface ServiceEntry {
  network: string
  vip?: Address | Address[] | undefined
  endpoint_mode?: 'vip' | 'dnsrr' | undefined
  ports?: unknown
  scheduler?: SchedulerName | undefined
  backends?: unknown
  healthcheck?: unknown
  affinity?: 'none' | 'client_ip' | undefined
  affinity_timeout?: number | undefined
  aliases?: string[] | undefined
  dns_answers?: 'ready' | 'all' | undefined
}

const backendSchema: z.ZodType<{ weight?: number | undefined }> = mapping({
  weight: z.number().int().min(0).max(WEIGHT_MAX).optional(),
})

/** Where faults are told, and who is told where each part was written. */
export interface Note {
  readonly faults: Faults
  readonly note: (part: object, path: Path) => void
}

/** One service, or undefined after its faults were told. */
export function parseService(
  name: string,
  value: unknown,
  path: Path,
  o: Note,
): ServiceConfig | undefined {
  const entry = parseEntry(serviceSchema, value, path, o.faults)
  if (entry === undefined) return undefined
  const { vip = [] } = entry
  const mode = entry.endpoint_mode ?? 'vip'
  const ports = parseServicePorts(entry.ports, [...path, 'ports'], o)
  const service: ServiceConfig = {
    name,
    network: entry.network,
    vips: Array.isArray(vip) ? vip : [vip],
    mode,
    ports,
    scheduler: entry.scheduler ?? 'maglev',
    backends: parseBackends(entry.backends, [...path, 'backends'], o),
    healthcheck: parseHealthcheck(entry.healthcheck, ports, [...path, 'healthcheck'], o.faults),
    affinityMs: entry.affinity === 'client_ip' ? (entry.affinity_timeout ?? AFFINITY_MS) : 0,
    aliases: entry.aliases ?? [],
    answers: entry.dns_answers ?? 'ready',
  }
  const none = entry.ports === undefined || entry.ports === null
  if (mode === 'vip' && (none || (Array.isArray(entry.ports) && entry.ports.length === 0))) {
    o.faults.at(path, 'a service needs "ports": those of its virtual address')
  }
  if (entry.affinity_timeout !== undefined && entry.affinity !== 'client_ip') {
    const message = '"affinity_timeout" has no effect without "affinity: client_ip"'
    o.faults.atKey([...path, 'affinity_timeout'], message)
  }
  o.note(service, path)
  return service
}

function parseServicePorts(value: unknown, path: Path, o: Note): ServicePort[] {
  return parseList(value, { path, faults: o.faults, what: 'ports', note: o.note }, (item, at) => {
    const read = parsePort(item, at, o.faults)
    return read && servicePort(read, at, o.faults)
  })
}

function servicePort(read: PortConfig, path: Path, faults: Faults): ServicePort | undefined {
  const { protocol } = read
  if (protocol === 'sctp') faults.at(path, 'a service balances tcp and udp; sctp it cannot')
  else if (read.address !== undefined && read.port === undefined && read.among === undefined) {
    faults.at(path, 'a service publishes no port that is left open; name one beside the address')
  } else return { ...read, protocol }
  return undefined
}

function parseBackends(value: unknown, path: Path, o: Note): BackendConfig[] {
  if (typeof value !== 'object' || value === null) {
    const got = value === undefined || value === null ? 'nothing' : describe(value)
    o.faults.at(path, `expected a list or a mapping of sandboxes, got ${got}`)
    return []
  }
  const entries: [unknown, unknown, string | number][] = Array.isArray(value)
    ? value.map((sandbox, i) => [sandbox, undefined, i])
    : Object.entries(value).map(([sandbox, options]) => [sandbox, options, sandbox])
  const backends: BackendConfig[] = []
  for (const [sandbox, options, step] of entries) {
    const at: Path = [...path, step]
    if (typeof sandbox !== 'string') {
      o.faults.at(at, `expected the name of a sandbox, got ${describe(sandbox)}`)
      continue
    }
    const entry = parseEntry(backendSchema, options, at, o.faults)
    if (entry === undefined) continue
    const backend = { sandbox, weight: entry.weight ?? 1 }
    o.note(backend, at)
    backends.push(backend)
  }
  return backends
}

function parseHealthcheck(
  value: unknown,
  ports: readonly ServicePort[],
  path: Path,
  faults: Faults,
): HealthcheckConfig | undefined {
  if (value === undefined || value === null) return undefined
  const entry = parseEntry(healthcheckSchema, value, path, faults)
  if (entry === undefined) return undefined
  const { type = 'tcp', interval = 2000, timeout = 1000 } = entry
  const first = ports.find(({ protocol }) => (protocol === 'udp') === (type === 'udp'))
  const implied = type === 'dns' ? DNS_PORT : type === 'icmp' ? 0 : first?.targetPort
  const checked = entry.port ?? implied
  if (type === 'icmp' && entry.port !== undefined) {
    faults.atKey([...path, 'port'], 'a check of type icmp has no port')
  } else if (checked === undefined) {
    faults.at(path, `a check of type ${type} needs "port": the service has no such port`)
  }
  if (type !== 'http' && entry.path !== undefined) {
    faults.atKey([...path, 'path'], '"path" goes with type http only')
  } else if (entry.path !== undefined && !/^\/[\x21-\x7e]*$/.test(entry.path)) {
    faults.at([...path, 'path'], `"${entry.path}" is not a path, such as "/health"`)
  }
  if (timeout > interval) {
    const at = entry.timeout === undefined ? 'interval' : 'timeout'
    faults.at([...path, at], 'a check must be over before the next: timeout is above interval')
  }
  return {
    type,
    port: checked ?? 0,
    path: entry.path ?? '/',
    intervalMs: interval,
    timeoutMs: timeout,
    retries: entry.retries ?? 3,
    rise: entry.rise ?? 1,
    slowStartMs: entry.slow_start ?? 0,
  }
}
