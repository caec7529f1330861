/**
 * What a node shows of names: who is called what, what was learned from forwarders, and how one
 * name is resolved, step by step. As in views.ts, names of fields are a contract.
 *
 * An explanation takes the way of a real query: it is counted, and asks forwarders as that would.
 */
import dns from 'dns-packet'
import { formatAddress } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import { readKey } from './dns/forwarder.ts'
import { reverseName, type Say } from './dns/local.ts'
import { formatName, type Name, parseName } from './dns/name.ts'
import { tryAddress } from './dns/resolv_conf.ts'
import { LATER, ownQuery } from './dns/server.ts'
import type { NameService } from './dns/service.ts'
import { rcodeName, TCP_BYTES_MAX, Type, typeName, typeOf } from './dns/wire.ts'
import type { Node } from './node.ts'
import { notFound } from './not_found.ts'
import { stackOwner } from './stack_owner.ts'

export interface NameRow {
  readonly network: string
  readonly name: string
  /** `sandbox`, `service`, `tasks`, `remote`; several with commas. */
  readonly kind: string
  /** What it leads to now. */
  readonly addresses: readonly string[]
}

export interface ResolverRow {
  readonly sandbox: string
  /** Networks whose names it sees, in the order in which they are looked at. */
  readonly networks: readonly string[]
  /** It has 127.0.0.11. */
  readonly loopback: boolean
  /** May its questions leave the node? */
  readonly forwards: boolean
  /** Its own forwarders. */
  readonly servers: readonly string[]
  readonly queries: number
}

export interface NamesStats {
  /** At gateways: queries taken, and those answered at once. */
  readonly queries: number
  readonly local: number
  /** Questions that went to forwarders, and those that none answered. */
  readonly forwarded: number
  readonly failed: number
  /** Refused as too many waited. */
  readonly refused: number
  readonly waiting: number
  readonly cache: {
    readonly entries: number
    readonly octets: number
    readonly hits: number
    readonly misses: number
    readonly stale: number
  }
}

export interface NamesView {
  readonly enabled: boolean
  readonly ttlS: number
  readonly names: readonly NameRow[]
  readonly resolvers: readonly ResolverRow[]
  readonly stats: NamesStats
}

export interface CacheRow {
  readonly name: string
  readonly type: string
  readonly rcode: string
  readonly records: number
  /** Seconds until it is too old; below 0: it is stale. */
  readonly leftS: number
  /** Forwarders that it was learned from. */
  readonly servers: string
}

export interface Resolution {
  readonly name: string
  readonly type: string
  readonly from: string
  readonly steps: readonly string[]
  readonly rcode: string
  /** `web. 600 IN A 10.1.0.11` */
  readonly records: readonly string[]
}

export function names({ names: service }: Node): NamesView {
  const { config, registry } = service
  return {
    enabled: config.enabled,
    ttlS: config.ttlS,
    names: [...registry.networks.values()].flatMap((network) =>
      network.entries().map((entry): NameRow => {
        const kinds = new Set(entry.visible().map(({ kind }) => kind))
        return {
          network: network.network,
          name: formatName(entry.name),
          kind: [...kinds].join(','),
          addresses: entry.addresses().map(formatAddress),
        }
      }),
    ),
    resolvers: [...registry.scopes.values()].map((scope) => ({
      sandbox: scope.sandbox,
      networks: scope.networks.map(({ network }) => network),
      loopback: service.hasLoopback(scope.sandbox),
      forwards: scope.mayForward,
      servers: scope.settings.servers.map(({ address }) => formatAddress(address)),
      queries: scope.asked,
    })),
    stats: stats(service),
  }
}

function stats({ gateway, forwarder }: NameService): NamesStats {
  const cache = forwarder?.cache
  return {
    queries: gateway.asked,
    local: gateway.answered,
    forwarded: forwarder?.asked ?? 0,
    failed: forwarder?.failed ?? 0,
    refused: forwarder?.refused ?? 0,
    waiting: forwarder?.waiting ?? 0,
    cache: {
      entries: cache?.size ?? 0,
      octets: cache?.bytes ?? 0,
      hits: cache?.hits ?? 0,
      misses: cache?.misses ?? 0,
      stale: cache?.stale ?? 0,
    },
  }
}

export function namesCache({ names: { forwarder } }: Node): CacheRow[] {
  if (forwarder === undefined) return []
  const { cache } = forwarder
  return [...cache.entries()].map(([key, entry]) => {
    const { servers, type, name } = readKey(key)
    return {
      name: formatName(name),
      type: typeName(type),
      rcode: rcodeName(entry.rcode),
      records: entry.answers.length,
      leftS: Math.round((entry.freshMs - cache.ageMs(entry)) / 1000),
      servers,
    }
  })
}

/** Forget what was learned from forwarders; how many answers. */
export function flushNames({ names: { forwarder } }: Node): number {
  return forwarder?.forget() ?? 0
}

/**
 * What a sandbox would be told of a name, and why.
 *
 * @throws StackError `not-found`, `bad-argument`; `unsupported`: the host's resolver is its.
 */
export function resolveName(
  { names: service, state: { sandboxes } }: Node,
  { from, name: written, type: typeText = 'A' }: ResolveRequest,
): Promise<Resolution> {
  const owner = stackOwner(sandboxes, from)
  const scope = service.registry.scopes.get(owner?.name ?? from)
  if (scope === undefined) throw notFound('no sandbox', from, service.registry.scopes.keys())
  if (owner?.stack === 'host') {
    throw new StackError(
      'unsupported',
      `${from} is on the host's stack: it has the host's resolver`,
    )
  }
  const [name, type] = question(written, typeText)
  const steps: string[] = []
  const say: Say = (step) => steps.push(step)
  if (scope.sandbox !== from) say(`${from} shares the stack of ${scope.sandbox}, and its resolver`)
  const networks = scope.networks.map(({ network }) => network).join(', ')
  say(`${scope.sandbox} is on ${networks === '' ? 'no network' : networks}`)
  const mem = new Uint8Array(TCP_BYTES_MAX)
  const query = ownQuery(name, type)
  mem.set(query)
  const manner = { scope, maxBytes: TCP_BYTES_MAX, isStream: true, say }
  const length = service.server.respond(mem, 0, query.length, manner)
  return new Promise((resolve) => {
    const end = (message: Uint8Array): void => {
      const type = typeText.toUpperCase()
      resolve({ name: formatName(name), type, from, steps, ...describe(message) })
    }
    if (length !== LATER) return end(mem.subarray(0, length))
    service.server.forward(service.server.pending(mem, 0, manner), end, say)
  })
}

export interface ResolveRequest {
  readonly from: string
  readonly name: string
  readonly type?: string | undefined
}

/** An address asked for PTR is its reverse name. @throws StackError `bad-argument`. */
function question(written: string, typeText: string): [Name, number] {
  const type = typeOf(typeText)
  if (type === undefined) throw new StackError('bad-argument', `"${typeText}" is not a type`)
  const address = type === Type.Ptr ? tryAddress(written) : undefined
  return [address === undefined ? parseName(written) : reverseName(address), type]
}

function describe(message: Uint8Array): Pick<Resolution, 'rcode' | 'records'> {
  const packet = dns.decode(Buffer.from(message)) as dns.DecodedPacket & { rcode?: string }
  const rows = [...(packet.answers ?? []), ...(packet.authorities ?? [])]
  const records = rows.map((row) => {
    const { name, type } = row
    const { ttl = 0, data } = row as { ttl?: number; data?: unknown }
    return `${name} ${ttl} IN ${type} ${dataText(data)}`
  })
  return { rcode: packet.rcode ?? rcodeName(message[3]! & 0xf), records }
}

function dataText(data: unknown): string {
  if (Buffer.isBuffer(data)) return `\\# ${data.length} ${data.toString('hex')}`
  if (Array.isArray(data)) return data.map((part) => `"${String(part)}"`).join(' ')
  if (typeof data === 'object' && data !== null) return Object.values(data).map(String).join(' ')
  return String(data)
}
