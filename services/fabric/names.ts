/**
 * What a program in a sandbox would be told of a name: by the node's own name server, as if it had
 * been asked there, and counted so. Names outside are not asked for: that takes time, and who opens
 * a connection has its address at once.
 */
import dns from 'dns-packet'
import type { Controller } from '../controller.ts'
import { parseName } from '../dns/name.ts'
import { ownQuery } from '../dns/server.ts'
import { TCP_BYTES_MAX, Type } from '../dns/wire.ts'

/** The first address, IPv4 before IPv6; undefined: nobody here is called so. @throws StackError. */
export function addressNamed(
  { node }: Controller,
  sandbox: string,
  written: string,
): string | undefined {
  const { registry, server } = node.names
  const scope = registry.scopes.get(sandbox)
  if (scope === undefined) return undefined
  const mem = new Uint8Array(TCP_BYTES_MAX)
  const manner = { scope, maxBytes: TCP_BYTES_MAX, isStream: true }
  for (const type of [Type.A, Type.Aaaa]) {
    const query = ownQuery(parseName(written), type)
    mem.set(query)
    const length = server.respond(mem, 0, query.length, manner)
    if (length <= 0) return undefined
    const { answers = [] } = dns.decode(Buffer.from(mem.subarray(0, length)))
    const [first] = answers.flatMap((row) => (row.type === 'A' || row.type === 'AAAA' ? [row] : []))
    if (first !== undefined) return first.data
  }
  return undefined
}
