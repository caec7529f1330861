/**
 * Options of the library, checked as a file is: a key that nobody knows or a value that means
 * nothing is refused with what would be right. What options become entries of the file format for
 * (desired.ts) is checked there once more, by the file's parser.
 */
import { z } from 'zod'
import { StackError } from '../../stack/errors.ts'
import { mapping } from '../config/schema.ts'

const count = z.number().int().min(0)
const percent = z.number().min(0).max(100)
const given = z.unknown().optional()
const ttl = z.number().int().min(1).max(255)
const timeoutMs = z.number().min(0).optional()

export const FABRIC: z.ZodType = mapping({
  name: z.string().optional(),
  log: given,
  devices: z.enum(['memory', 'tap']).optional(),
  clock: z.enum(['virtual', 'system']).optional(),
  seed: z.number().int().optional(),
  packets: mapping({ small: count.optional(), large: count.optional() }).optional(),
  checked: z.boolean().optional(),
  dns: given,
})

export const FAULTS: z.ZodType = mapping({
  delayMs: z.number().min(0).optional(),
  jitterMs: z.number().min(0).optional(),
  lossPct: percent.optional(),
  duplicatePct: percent.optional(),
  reorderPct: percent.optional(),
  corruptPct: percent.optional(),
  bandwidthBitsPerS: z.number().positive().optional(),
  queueFrames: count.optional(),
  partitioned: z.boolean().optional(),
})

export const DIRECTION: z.ZodType = z.enum(['both', 'up', 'down'])

export const TIME_MS: z.ZodType = z.number().min(0)

export const ROUTE: z.ZodType = mapping({ via: z.string().optional() })

export const REPLAY: z.ZodType = mapping({ interface: z.string().optional() })

export const PING: z.ZodType = mapping({
  bytes: given,
  ttl: ttl.optional(),
  dontFragment: z.boolean().optional(),
  timeoutMs,
})

export const FETCH: z.ZodType = mapping({
  method: z.string().optional(),
  headers: given,
  body: z.union([z.string(), z.instanceof(Uint8Array)], 'expected text or bytes').optional(),
  timeoutMs,
})

export const EXEC: z.ZodType = mapping({ input: z.string().optional(), timeoutMs })

export const SEND: z.ZodType = mapping({
  ttl: ttl.optional(),
  dontFragment: z.boolean().optional(),
  segmentBytes: z.number().int().min(1).optional(),
})

export const RECEIVE: z.ZodType = mapping({ timeoutMs })

export const NETWORK: z.ZodType = mapping({
  subnets: z
    .array(
      z.union([z.string(), mapping({ subnet: z.string(), gateway: given, range: given })], {
        error: 'expected a subnet, or { subnet, gateway, range }',
      }),
    )
    .optional(),
  ipv6: given,
  mtu: given,
  internal: given,
  isolated: z.boolean().optional(),
  separate: given,
  arpProxy: given,
  macGuard: given,
  snooping: given,
  vlanFiltering: given,
  fdbAgeing: given,
  offload: given,
  policy: given,
})

export const ENDPOINT: z.ZodType = mapping({
  ipv4: given,
  ipv6: given,
  mac: given,
  aliases: given,
  interfaceName: given,
  mtu: given,
  isolated: given,
  splitHorizon: given,
  vlan: mapping({ pvid: given, tagged: z.array(count).optional() }).optional(),
  storm: mapping({ broadcast: given, multicast: given, unknown: given }).optional(),
  policy: given,
  rate: given,
})

export const SANDBOX: z.ZodType = mapping({
  networks: z
    .union([z.array(z.string()), z.record(z.string(), given)], {
      error: 'expected names of networks, or options of an endpoint by network',
    })
    .optional(),
})

/** @throws StackError `bad-argument`: every fault, each with where it is. */
export function checkOptions(what: string, schema: z.ZodType, options: unknown): void {
  const result = schema.safeParse(options)
  if (result.success) return
  const faults = result.error.issues.map(({ path, message }) =>
    [path.join('.'), message].filter((part) => part !== '').join(': '),
  )
  throw new StackError('bad-argument', `${what}: ${faults.join('; ')}`)
}
