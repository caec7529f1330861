/**
 * The parts of a file about what endpoints may send and be sent, and how fast: `policy` of networks
 * and endpoints, `rate` of endpoints. Whether networks that rules name exist is for
 * check_policy.ts.
 */
import { z } from 'zod'
import { familyBits, type Prefix, parseAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { PARTS_MAX, type PortRange, RULES_MAX } from '../../stack/ip/policy_rules.ts'
import type { RateSpec } from '../../stack/ip/rate_limit.ts'
import { PORT_MAX } from '../ports.ts'
import { parseDuration } from './duration.ts'
import type { Faults, Path } from './faults.ts'
import {
  NO_RATES,
  POLICY_PROTOCOLS,
  type PolicyAction,
  type PolicyConfig,
  type PolicyProtocol,
  type PolicyRuleConfig,
  type RatesConfig,
} from './model.ts'
import { mapping, nameFault, parseEntry, parseList, readNetworkPrefix, text } from './schema.ts'
import type { Note } from './services.ts'

const DEFAULT_BURST_MS = 250
const BURST_MAX_MS = 60_000
const BITS_MIN = 1000
const BITS_MAX = 1e13
const PACKETS_MAX = 1e9

/** A prefix, an address for itself alone, or the name of a network. */
function readFar(written: string): Prefix | string {
  if (written.includes('/')) return readNetworkPrefix(written)
  if (!/^[\d.]+$|:/.test(written)) {
    const fault = nameFault(written)
    if (fault !== undefined) throw new StackError('bad-config', fault)
    return written
  }
  const address = parseAddress(written)
  return { address, bits: familyBits(address.family) }
}

function readPorts(written: string): PortRange {
  const [, from = '', to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(written.trim()) ?? []
  const [first, last] = [Number(from), Number(to)]
  if (from !== '' && first >= 1 && last <= PORT_MAX && first <= last) return { first, last }
  const message = `"${written}" is not a port from 1 to ${PORT_MAX} or a range, such as "8000-8100"`
  throw new StackError('bad-config', message)
}

const far = text(readFar)
const action = z.enum(['allow', 'deny'])
const ports = textOrNumber(readPorts)
const common = {
  action,
  protocol: z.enum(POLICY_PROTOCOLS).optional(),
  ports: oneOrMore(ports).optional(),
}
const ruleSchemas: { readonly [K in 'ingress' | 'egress']: z.ZodType<RuleEntry> } = {
  ingress: mapping({ ...common, from: oneOrMore(far).optional() }),
  egress: mapping({ ...common, to: oneOrMore(far).optional() }),
}

interface RuleEntry {
  action: PolicyAction
  protocol?: PolicyProtocol | undefined
  ports?: PortRange[] | undefined
  from?: (Prefix | string)[] | undefined
  to?: (Prefix | string)[] | undefined
}

/** What is written as text, and may be written as a number. */
function textOrNumber<T>(read: (written: string) => T): z.ZodType<T> {
  return z.preprocess((value) => (typeof value === 'number' ? String(value) : value), text(read))
}

/** A list, or one value for a list of it. */
function oneOrMore<T>(one: z.ZodType<T>): z.ZodType<T[]> {
  return z.preprocess(
    (value) => (Array.isArray(value) ? value : [value]),
    z.array(one).min(1).max(PARTS_MAX),
  )
}

const policySchema: z.ZodType<PolicyEntry> = mapping({
  ingress: z.unknown().optional(),
  egress: z.unknown().optional(),
  default_ingress: action.optional(),
  default_egress: action.optional(),
})

interface PolicyEntry {
  ingress?: unknown
  egress?: unknown
  default_ingress?: PolicyAction | undefined
  default_egress?: PolicyAction | undefined
}

/** Undefined: there is none, or it has faults, which were told. */
export function parsePolicy(value: unknown, path: Path, o: Note): PolicyConfig | undefined {
  if (value === undefined || value === null) return undefined
  const entry = parseEntry(policySchema, value, path, o.faults)
  if (entry === undefined) return undefined
  return {
    ingress: parseRules('ingress', entry.ingress, path, o),
    egress: parseRules('egress', entry.egress, path, o),
    defaultIngress: entry.default_ingress,
    defaultEgress: entry.default_egress,
  }
}

function parseRules(
  direction: 'ingress' | 'egress',
  value: unknown,
  path: Path,
  { faults, note }: Note,
): PolicyRuleConfig[] {
  const at: Path = [...path, direction]
  const rules = parseList(value, { path: at, faults, what: 'rules', note }, (item, place) => {
    const entry = parseEntry(ruleSchemas[direction], item, place, faults)
    if (entry === undefined) return undefined
    const { protocol = 'any' } = entry
    if (entry.ports !== undefined && protocol === 'icmp') {
      faults.atKey([...place, 'ports'], '"ports" goes with protocol tcp, udp or sctp')
    }
    return {
      action: entry.action,
      far: entry.from ?? entry.to ?? [],
      protocol,
      ports: entry.ports ?? [],
    }
  })
  if (rules.length > RULES_MAX) {
    faults.at(at, `${rules.length} rules; a policy has at most ${RULES_MAX} each way`)
  }
  return rules
}

/** Bits a second: a number, or as `tc` writes it: `10mbit`, `1.5gbit`. */
function readBits(written: string): number {
  const [, count, unit = ''] =
    /^(\d{1,13}(?:\.\d{1,6})?)(?:([kmgt]?)bit)?$/i.exec(written.trim()) ?? []
  const bits = Number(count) * 1000 ** ' kmgt'.indexOf(unit.toLowerCase() || ' ')
  if (bits >= BITS_MIN && bits <= BITS_MAX) return bits
  const message = `"${written}" is not a rate from 1kbit to 10tbit, such as "10mbit" or 10000000`
  throw new StackError('bad-config', message)
}

const rateSchema: z.ZodType<RateEntry> = mapping({
  bits_per_s: textOrNumber(readBits).optional(),
  packets_per_s: z.number().int().min(1).max(PACKETS_MAX).optional(),
  burst: text((written) => {
    const ms = parseDuration(written)
    if (ms >= 1 && ms <= BURST_MAX_MS) return ms
    throw new StackError('bad-config', `"${written}" is not between 1ms and 1m`)
  }).optional(),
})

interface RateEntry {
  bits_per_s?: number | undefined
  packets_per_s?: number | undefined
  burst?: number | undefined
}

const ratesSchema: z.ZodType<{ ingress?: unknown; egress?: unknown }> = mapping({
  ingress: z.unknown().optional(),
  egress: z.unknown().optional(),
})

export function parseRates(value: unknown, path: Path, faults: Faults): RatesConfig {
  if (value === undefined || value === null) return NO_RATES
  const entry = parseEntry(ratesSchema, value, path, faults)
  return {
    ingress: parseRate(entry?.ingress, [...path, 'ingress'], faults),
    egress: parseRate(entry?.egress, [...path, 'egress'], faults),
  }
}

function parseRate(value: unknown, path: Path, faults: Faults): RateSpec | undefined {
  if (value === undefined || value === null) return undefined
  const entry = parseEntry(rateSchema, value, path, faults)
  if (entry === undefined) return undefined
  const { bits_per_s: bitsPerS, packets_per_s: packetsPerS, burst } = entry
  if (bitsPerS === undefined && packetsPerS === undefined) {
    faults.at(path, 'a rate has "bits_per_s", "packets_per_s" or both')
  }
  return { bitsPerS, packetsPerS, burstMs: burst ?? DEFAULT_BURST_MS }
}
