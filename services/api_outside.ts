/** The part of the API about the outside: published ports, services, connections. */
import { StackError } from '../stack/errors.ts'
import { PROTOCOL_NAMES, STATE_NAMES } from '../stack/ip/conntrack_list.ts'
import type { Handler } from './api.ts'
import type { FlowFilter } from './views_outside.ts'

export const OUTSIDE_HANDLERS: Readonly<Record<string, Handler>> = {
  'GET /v1/ports': ({ controller }) => controller.ports(),
  'POST /v1/ports/add': ({ controller, publisher = controller }, _, body) => {
    const [spec, sandbox] = texts(body, ['spec', 'sandbox'])
    return publisher.addPort(spec!, sandbox!)
  },
  'POST /v1/ports/remove': ({ controller, publisher = controller }, _, body) =>
    publisher.removePort(texts(body, ['spec'])[0]!),
  'GET /v1/services': ({ controller }) => controller.services(),
  'POST /v1/services/drain': ({ controller }, _, body) => {
    const [service, backend] = texts(body, ['service', 'backend'])
    return controller.drain(service!, backend!)
  },
  'GET /v1/flows': ({ controller }, query) => controller.flows(query.get('device') ?? undefined),
  'GET /v1/conntrack': ({ controller }, query) => controller.conntrack(flowFilter(query)),
  'POST /v1/conntrack/delete': ({ controller }, query) => ({
    deleted: controller.deleteFlows(flowFilter(query)),
  }),
}

/** @throws StackError `bad-argument` */
export function flowFilter(query: URLSearchParams): FlowFilter {
  const given = (key: string): string | undefined => query.get(key) ?? undefined
  const [protocol, state, address] = [given('protocol'), given('state'), given('address')]
  const [src, dst, sandbox, port] = [given('src'), given('dst'), given('sandbox'), given('port')]
  if (port !== undefined && !/^\d{1,5}$/.test(port)) {
    throw new StackError('bad-argument', `port is a number, not "${port}"`)
  }
  if (protocol !== undefined && !/^\d{1,3}$/.test(protocol))
    oneOf('protocol', protocol, PROTOCOL_NAMES)
  if (state !== undefined) oneOf('state', state, STATE_NAMES)
  return {
    ...(protocol !== undefined && { protocol }),
    ...(state !== undefined && { state }),
    ...(address !== undefined && { address }),
    ...(src !== undefined && { src }),
    ...(dst !== undefined && { dst }),
    ...(sandbox !== undefined && { sandbox }),
    ...(port !== undefined && { port: Number(port) }),
  }
}

/** @throws StackError `bad-argument` if it is none of them. */
function oneOf(what: string, given: string, known: readonly string[]): void {
  if (known.includes(given)) return
  throw new StackError('bad-argument', `no ${what} "${given}"; there are: ${known.join(', ')}`)
}

/** Texts of a body, in the order of their keys. @throws StackError `bad-argument` */
function texts(body: unknown, keys: readonly string[]): string[] {
  const given = (body ?? {}) as Record<string, unknown>
  return keys.map((key) => {
    const value = given[key]
    if (typeof value === 'string' && value !== '') return value
    const wanted = keys.map((name) => `${name}: string`).join(', ')
    throw new StackError('bad-argument', `wanted { ${wanted} }`)
  })
}
