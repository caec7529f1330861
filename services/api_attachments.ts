/**
 * The part of the API about attachments: what a container runtime asks for while the daemon runs.
 *
 * ```text
 *   POST /v1/attachments/add      { id, interfaceName, netns, network, ... }  -> the attachment
 *   POST /v1/attachments/remove   { id, interfaceName }                       -> { removed }
 *   POST /v1/attachments/collect  { owner, valid: [ "ID/INTERFACE", ... ] }   -> { removed }
 *   POST /v1/attachments/check    { id, interfaceName }                       -> { faults }
 *   GET  /v1/attachments?network=                                             -> a list
 * ```
 */
import { z } from 'zod'
import { StackError } from '../stack/errors.ts'
import type { RateSpec } from '../stack/ip/rate_limit.ts'
import type { Handler, Served } from './api.ts'
import type { Attachments, AttachRequest } from './attachments.ts'

/** A bucket below a millisecond passes nothing; one above a minute limits nothing. */
const BURST_MAX_MS = 60_000

const interfaceName = z
  .string()
  .min(1)
  .max(15)
  .regex(/^(?!\.{1,2}$|lo$|all$|default$)[^/:\s]+$/)
const rate: z.ZodType<RateSpec | undefined> = z
  .strictObject({
    bitsPerS: z.number().positive().max(1e13),
    burstMs: z.number().min(1).max(BURST_MAX_MS),
  })
  .optional()
  .transform((value) => value && { ...value, packetsPerS: undefined })

const attach: z.ZodType<AttachRequest> = z.strictObject({
  id: z.string().min(1).max(255),
  interfaceName,
  netns: z.string().startsWith('/').max(4095),
  network: z.string(),
  owner: z.string().max(255).default(''),
  addresses: z.array(z.string()).max(2).default([]),
  mac: z
    .string()
    .optional()
    .transform((value) => value),
  mtuBytes: z
    .number()
    .int()
    .min(68)
    .optional()
    .transform((value) => value),
  ports: z.array(z.string()).max(1024).default([]),
  aliases: z.array(z.string()).max(256).default([]),
  ingress: rate,
  egress: rate,
})
const one = z.strictObject({ id: z.string(), interfaceName: z.string() })
const collect = z.strictObject({ owner: z.string(), valid: z.array(z.string()) })

export const ATTACHMENT_HANDLERS: Readonly<Record<string, Handler>> = {
  'GET /v1/attachments?network': (served, query) =>
    of(served).list(query.get('network') ?? undefined),
  'POST /v1/attachments/add': (served, _, body) => of(served).add(parse(attach, body)),
  'POST /v1/attachments/remove': async (served, _, body) => {
    const { id, interfaceName: name } = parse(one, body)
    return { removed: await of(served).remove(id, name) }
  },
  'POST /v1/attachments/check': (served, _, body) => {
    const { id, interfaceName: name } = parse(one, body)
    return { faults: of(served).faults(id, name) }
  },
  'POST /v1/attachments/collect': async (served, _, body) => {
    const { owner, valid } = parse(collect, body)
    return { removed: await of(served).collect(owner, new Set(valid)) }
  },
}

function of({ attachments }: Served): Attachments {
  if (attachments !== undefined) return attachments
  throw new StackError('unsupported', 'this daemon is configured by Docker, and takes no others')
}

/** @throws StackError `bad-argument`. */
function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const { success, data, error } = schema.safeParse(body)
  if (success) return data
  const [issue] = error.issues
  throw new StackError('bad-argument', `${issue?.path.join('.') || 'body'}: ${issue?.message}`)
}
