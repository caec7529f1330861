/**
 * Ports of the host that programs listen on. A port that is led to the router would be taken from
 * under them without a word, so it is refused.
 *
 * The kernel's tables are lines of `sl: LOCAL:PORT REMOTE:PORT ST ...`, addresses as words in the
 * order of the machine. A TCP socket counts if it listens, a UDP socket if it is connected to
 * nobody. A socket of `::` counts for IPv4 as well, as whether it does is not told.
 */
import { readFileSync } from 'node:fs'
import { type Address, formatAddress, fromBytes, sameAddress } from '../../stack/address.ts'
import { protocolName } from '../../stack/ip/conntrack_list.ts'
import type { HostPort } from '../links.ts'
import { isAny } from '../ports.ts'

const LISTEN = '0A'
/** Of whichever namespace the thread is in. */
const FOLDER = '/proc/thread-self/net'

export interface Listener {
  readonly address: Address
  readonly port: number
}

/** Who listens according to one of the kernel's tables. */
export function listeners(table: string, protocol: 6 | 17): Listener[] {
  return table.split('\n').flatMap((line) => {
    const match = /^\s*\d+: ([\dA-F]+):([\dA-F]{4}) [\dA-F]+:([\dA-F]{4}) ([\dA-F]{2}) /.exec(line)
    if (match === null) return []
    const [, local = '', port = '', remotePort, state] = match
    const open = protocol === 6 ? state === LISTEN : remotePort === '0000'
    return open ? [{ address: readAddress(local), port: Number.parseInt(port, 16) }] : []
  })
}

/** Who has one of the ports; undefined: they are free. */
export function taker(wanted: HostPort, all: readonly Listener[]): Listener | undefined {
  const { family, address, port, count } = wanted
  return all.find((listener) => {
    if (listener.port < port || listener.port >= port + count) return false
    const { address: own } = listener
    const any = isAny(own)
    if (own.family !== family) return own.family === 6 && any
    return any || address === undefined || sameAddress(own, address)
  })
}

/** By protocol; of SCTP nothing is known. */
export type Listeners = ReadonlyMap<number, readonly Listener[]>

/** Who listens on this host now. */
export function allListeners(): Listeners {
  const of = (protocol: 6 | 17): Listener[] =>
    ['', '6'].flatMap((six) => listeners(readTable(`${protocolName(protocol)}${six}`), protocol))
  return new Map([
    [6, of(6)],
    [17, of(17)],
  ])
}

/** Who has one of these ports, in words; undefined: they are free. */
export function inUse(ports: readonly HostPort[], all: Listeners): string | undefined {
  for (const one of ports) {
    const found = taker(one, all.get(one.protocol) ?? [])
    if (found === undefined) continue
    const { address, port } = found
    const text = address.family === 6 ? `[${formatAddress(address)}]` : formatAddress(address)
    const name = `${port}/${protocolName(one.protocol)}`
    return `port ${name} is in use on this host: a program has ${text}:${port}`
  }
  return undefined
}

function readTable(file: string): string {
  try {
    return readFileSync(`${FOLDER}/${file}`, 'utf8')
  } catch {
    // A kernel without IPv6 has no table of it.
    return ''
  }
}

/** Words of 8 digits, each in the order of the machine: little-endian here. */
function readAddress(hex: string): Address {
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse()
  const mapped = bytes.length === 16 && hex.startsWith('0000000000000000FFFF0000')
  return fromBytes(mapped ? bytes.subarray(12) : bytes)
}
