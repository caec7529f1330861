/**
 * The first steps of a packet from outside: who sends it, and, where the host is the outside, what
 * its rules do before the router hears of it (host/ruleset.ts), told from what they are.
 */
import { type Address, formatAddress, isLoopback, sameAddress } from '../stack/address.ts'
import { solicit } from '../stack/arp/solicit.ts'
import { StackError } from '../stack/errors.ts'
import type { Packet, Pool } from '../stack/packet.ts'
import type { Trace } from '../stack/trace.ts'
import type { HostSide } from './links.ts'
import { PORT_PROTOCOLS } from './ports.ts'
import {
  buildPacket,
  type PacketFields,
  packetBytes,
  putRaw,
  sourceOf,
  toFields,
  whatOf,
} from './trace_packet.ts'
import type { TraceRequest } from './trace_request.ts'
import { peerMac, type Uplink } from './uplink.ts'

interface Entering {
  readonly pool: Pool
  readonly uplink: Uplink
  readonly request: TraceRequest
  readonly target: Address | undefined
  readonly record: Trace
}

const ELEMENT = 'outside'

/**
 * Undefined: the pool is exhausted, or it ended before the router, as `record` says.
 *
 * @throws StackError `bad-argument`, `bad-address`, `not-found`.
 */
export function fromOutside({
  pool,
  uplink,
  request,
  target,
  record,
}: Entering): Packet | undefined {
  const { state, device, host, lost } = uplink
  if (lost !== undefined) throw new StackError('not-found', `the uplink is lost: ${lost}`)
  if (request.raw !== undefined) {
    record.step(ELEMENT, 'sends the given frame')
    return putRaw(pool, request.raw)
  }
  if (target === undefined) throw new StackError('bad-argument', 'a trace needs an address: "to"')
  const source = sourceOf(request, target) ?? farSide(uplink, target)
  const sourceMac = peerMac(state.mac)
  if (request.arp === true) {
    record.step(ELEMENT, `${formatAddress(source)} asks who has ${formatAddress(target)}`)
    const addresses = [{ address: source, bits: 0 }]
    return solicit(pool, { mac: sourceMac, addresses }, target, undefined)
  }
  const asked = toFields(request, { sourceMac, targetMac: state.mac, source, target })
  record.step(
    ELEMENT,
    `${formatAddress(source)} sends to ${formatAddress(target)} (${whatOf(asked)})`,
  )
  const fields = host === undefined ? asked : led(host, asked, uplink, record)
  if (fields === undefined) return undefined
  const over = packetBytes(fields) - device.mtuBytes
  if (over <= 0) return buildPacket(pool, fields)
  const message = `${fields.size} octets make a packet above the MTU of the uplink, `
  const most = `${device.mtuBytes}. Trace at most ${fields.size - over}`
  throw new StackError('bad-argument', message + most)
}

/** The next router, or whoever else is known to be there. */
function farSide({ state }: Uplink, { family }: Address): Address {
  const known = [...state.gateways, ...state.peerAddresses.map(({ address }) => address)]
  const found = known.find((address) => address.family === family)
  if (found !== undefined) return found
  throw new StackError('bad-argument', `nobody of IPv${family} outside is known: name a "source"`)
}

/** Past the host; undefined: it stays there. */
function led(
  host: HostSide,
  fields: PacketFields,
  uplink: Uplink,
  record: Trace,
): PacketFields | undefined {
  const { source, target, proto, dport } = fields
  const isOwn = isLoopback(target) || host.addresses().some((own) => sameAddress(own, target))
  if (!isOwn) return fields
  const protocol = proto === 'icmp' ? undefined : PORT_PROTOCOLS[proto]
  const to = protocol && host.leads({ protocol, address: target, port: dport })
  if (to === undefined) {
    record.step('host', `${formatAddress(target)} is its own, and it leads none of this to us`)
    record.end('consumed', 'not at all: the host keeps it for its own programs')
    return undefined
  }
  record.step('host', `a published port: destination becomes ${formatAddress(to)} port ${dport}`)
  if (!isLoopback(source)) return { ...fields, target: to }
  const seen = farSide(uplink, source)
  record.step('host', `a loopback address: source becomes ${formatAddress(seen)}`)
  return { ...fields, target: to, source: seen }
}
