/**
 * What the host tracks of ports whose publication changed, and must forget.
 *
 * Chains of type nat see the first packet of a connection only. A client that sends UDP from one
 * port again and again is one connection to the host, for as long as it sends: what was decided
 * for its first datagram, before the port was published, would hold for ever. The same goes for
 * SCTP, whose clients ask again from the same port. TCP has a new port for each attempt, and what
 * it has open is left alone.
 *
 * Only what was asked of an address of the host: what it forwards for others stays.
 */
import { type Address, toBytes } from '../../stack/address.ts'
import { type Asked, forget } from '../../stack/native/ctnetlink.ts'
import type { HostPort } from '../links.ts'
import { PORT_PROTOCOLS } from '../ports.ts'
import { hostAddresses } from './host_addresses.ts'

const LASTING: readonly number[] = [PORT_PROTOCOLS.udp, PORT_PROTOCOLS.sctp]
const LOOPBACK4 = 127

/** Have the host forget connections to these ports. @throws StackError `syscall`. */
export async function forgetPorts(ports: readonly HostPort[]): Promise<void> {
  const lasting = ports.filter(({ protocol }) => LASTING.includes(protocol))
  const own = (): Address[] => hostAddresses().map(({ prefix }) => prefix.address)
  if (lasting.length > 0) await forget(askedOf(lasting, own()))
}

/** True of what was asked of these ports. `own`: addresses of the host. */
export function askedOf(
  ports: readonly HostPort[],
  own: readonly Address[],
): (asked: Asked) => boolean {
  const keyOf = (address: Address): string => hex(toBytes(address))
  const locals = new Set(own.map(keyOf))
  // By protocol and port: on which addresses, or `undefined` among them for every one.
  const index = new Map<number, Set<string | undefined>>()
  for (const { protocol, family, address, port, count } of ports) {
    const key = address && keyOf(address)
    for (let i = 0; i < count; i++) {
      const at = placeOf({ protocol, family, port: port + i })
      index.set(at, (index.get(at) ?? new Set()).add(key))
    }
  }
  return (asked) => {
    const addresses = index.get(placeOf(asked))
    if (addresses === undefined) return false
    const key = hex(asked.address)
    if (addresses.has(key)) return true
    const isLoopback = asked.family === 4 && asked.address[0] === LOOPBACK4
    return addresses.has(undefined) && (isLoopback || locals.has(key))
  }
}

function placeOf(at: Pick<Asked, 'protocol' | 'family' | 'port'>): number {
  return (at.family * 256 + at.protocol) * 65_536 + at.port
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
