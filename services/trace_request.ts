/** A trace as it comes over the API: checked in form here, in meaning by trace.ts. */
import { z } from 'zod'
import { StackError } from '../stack/errors.ts'
import type { TraceRequest } from './trace.ts'

const text = z.string().max(300_000)
const count = z.int().nonnegative()

const request = z.strictObject({
  from: text,
  to: text.exactOptional(),
  proto: z.enum(['icmp', 'udp', 'tcp']).exactOptional(),
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
