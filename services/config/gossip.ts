/**
 * `node.gossip` of a file: where a node gossips, with whom it begins, its keys, and how long the
 * dead count.
 */
import { z } from 'zod'
import { type Address, formatAddress, parseAddress } from '../../stack/address.ts'
import { GOSSIP_PORT } from '../gossip/defaults.ts'
import { PORT_MAX } from '../ports.ts'
import { parseDuration } from './duration.ts'
import type { GossipConfig, HostPortConfig } from './overlay_model.ts'
import { mapping, refuse, text } from './schema.ts'

/** RFC 1035 §2.3.4, by labels of letters, digits and hyphens. */
const HOST_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i
/** Its length is one octet. */
const LABEL_BYTES_MAX = 255
/** So that a node that is cut off for a moment, or away for a night, loses nothing. */
const ENDPOINT_TIMEOUT = { leastMs: 1000, mostMs: 86_400_000, defaultMs: 60_000 } as const

/** As it is written. */
export interface GossipEntry {
  bind?: HostPortConfig | undefined
  advertise?: HostPortConfig | undefined
  join?: HostPortConfig[] | undefined
  keys_file?: string | undefined
  endpoint_timeout?: number | undefined
  label?: string | undefined
}

const bound = text((written) => readHostPort(written, false))
export const gossipSchema: z.ZodType<GossipEntry> = mapping({
  bind: bound.optional(),
  advertise: bound.optional(),
  join: z.array(text((written) => readHostPort(written, true))).optional(),
  keys_file: z.string().min(1).optional(),
  endpoint_timeout: text(readEndpointTimeout).optional(),
  label: text(readLabel).optional(),
})

/** `own`: the underlay address of the node. */
export function gossipOf(entry: GossipEntry, own: Address): GossipConfig {
  return {
    bind: entry.bind ?? { host: formatAddress(own), port: GOSSIP_PORT },
    advertise: entry.advertise,
    join: entry.join ?? [],
    keysFile: entry.keys_file,
    label: entry.label ?? '',
    endpointTimeoutMs: entry.endpoint_timeout ?? ENDPOINT_TIMEOUT.defaultMs,
  }
}

/** @throws StackError `bad-config` */
function readEndpointTimeout(written: string): number {
  const ms = parseDuration(written)
  if (ms >= ENDPOINT_TIMEOUT.leastMs && ms <= ENDPOINT_TIMEOUT.mostMs) return ms
  return refuse('expected a duration from "1s" to "24h"')
}

/** @throws StackError `bad-config` */
function readLabel(written: string): string {
  const bytes = Buffer.byteLength(written)
  if (bytes >= 1 && bytes <= LABEL_BYTES_MAX) return written
  return refuse(`expected a label of 1 to ${LABEL_BYTES_MAX} octets`)
}

/** `10.200.0.2`, `10.200.0.2:7946`, `[fd00::2]:7946`; with `names` also `n2.example:7946`. */
function readHostPort(written: string, names: boolean): HostPortConfig {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(written)
  const [, host = written, digits] = bracketed ?? /^([^:]+)(?::(\d{1,5}))?$/.exec(written) ?? []
  const number = digits === undefined ? GOSSIP_PORT : Number(digits)
  if (number >= 1 && number <= PORT_MAX && isHost(host, names)) return { host, port: number }
  const what = names ? 'an address or a name' : 'an address'
  return refuse(`"${written}" is not ${what} with a port, such as "10.200.0.2:${GOSSIP_PORT}"`)
}

function isHost(host: string, names: boolean): boolean {
  try {
    parseAddress(host)
    return true
  } catch {
    return names && HOST_NAME.test(host) && !/^[\d.]+$/.test(host)
  }
}
