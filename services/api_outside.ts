/** The part of the API about the outside: published ports, services, connections. */
import { formatAddress, parseAddress } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import { PROTOCOL_NAMES, protocolName, STATE_NAMES } from '../stack/ip/conntrack_list.ts'
import type { Handler } from './api.ts'
import { PORT_MAX } from './ports.ts'
import type { ConnectionFilter } from './views_outside.ts'

/** What connections are chosen by. */
export const CONNECTION_KEYS = 'protocol&state&address&src&dst&sandbox&port'

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
  'GET /v1/flows?device': ({ controller }, query) =>
    controller.flows(query.get('device') ?? undefined),
  [`GET /v1/conntrack?${CONNECTION_KEYS}`]: ({ controller }, query) =>
    controller.conntrack(connectionFilter(query)),
  [`POST /v1/conntrack/delete?${CONNECTION_KEYS}`]: ({ controller }, query) => ({
    deleted: controller.forgetConnections(connectionFilter(query)),
  }),
}

const PROTOCOL_MAX = 255

/** In the words of lists, however it was written. @throws StackError `bad-argument` */
export function connectionFilter(query: URLSearchParams): ConnectionFilter {
  const given = <T>(key: string, parse: (text: string) => T): T | undefined => {
    const text = query.get(key)
    return text === null ? undefined : parse(text)
  }
  const address = (key: string) => given(key, (text) => addressOf(key, text))
  const wanted = {
    protocol: given('protocol', protocolOf),
    state: given('state', (text) => oneOf('state', text, STATE_NAMES)),
    address: address('address'),
    src: address('src'),
    dst: address('dst'),
    sandbox: given('sandbox', (text) => text),
    port: given('port', portOf),
  }
  const known = Object.entries(wanted).filter(([, value]) => value !== undefined)
  return Object.fromEntries(known) as ConnectionFilter
}

/** A name, or the name of a number. */
function protocolOf(text: string): string {
  if (!/^\d+$/.test(text)) return oneOf('protocol', text.toLowerCase(), PROTOCOL_NAMES)
  if (Number(text) <= PROTOCOL_MAX) return protocolName(Number(text))
  throw new StackError('bad-argument', `no protocol ${text}; numbers go to ${PROTOCOL_MAX}`)
}

function addressOf(key: string, text: string): string {
  try {
    return formatAddress(parseAddress(text))
  } catch (cause) {
    const message = `${key} is one IPv4 or IPv6 address, such as 10.1.0.11, not "${text}"`
    throw new StackError('bad-argument', message, { cause })
  }
}

function portOf(text: string): number {
  const port = Number(text)
  if (/^\d+$/.test(text) && port <= PORT_MAX) return port
  throw new StackError('bad-argument', `port is a number to ${PORT_MAX}, not "${text}"`)
}

/** @throws StackError `bad-argument` if it is none of them. */
function oneOf(what: string, given: string, known: readonly string[]): string {
  if (known.includes(given)) return given
  throw new StackError('bad-argument', `no ${what} "${given}"; there are: ${known.join(', ')}`)
}

/** Texts of a body, in the order of their keys. @throws StackError `bad-argument` */
function texts(body: unknown, keys: readonly string[]): string[] {
  const given = (body ?? {}) as Record<string, unknown>
  return keys.map((key) => {
    const value = given[key]
    if (typeof value === 'string') return value
    const wanted = keys.map((name) => `${name}: string`).join(', ')
    throw new StackError('bad-argument', `wanted { ${wanted} }`)
  })
}
