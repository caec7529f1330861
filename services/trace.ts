/**
 * What would happen to this packet? A described packet is made, marked as traced, and sent through
 * the real elements from where a sandbox's frames come in; each tells its step, none changes its
 * state, and nothing is transmitted (stack/trace.ts).
 *
 * The sandbox's own part, which tapline does not run, is told first: which interface it takes and
 * whose MAC it writes. Where it would have to ask for that MAC of somebody unknown, the question
 * is what is traced. What comes from outside begins at the uplink (trace_outside.ts).
 */
import {
  type Address,
  contains,
  familyBits,
  formatAddress,
  isMulticast,
  type Prefix,
  parseAddress,
} from '../stack/address.ts'
import { solicit } from '../stack/arp/solicit.ts'
import type { Device } from '../stack/device.ts'
import { StackError } from '../stack/errors.ts'
import { BROADCAST, formatMac, type Mac } from '../stack/eth/mac.ts'
import type { Packet, Pool } from '../stack/packet.ts'
import { Trace, type TraceEnd, type TraceStep } from '../stack/trace.ts'
import type { Edge } from './edge.ts'
import { boundsOf, toInteger } from './ipam.ts'
import type { Node } from './node.ts'
import { notFound } from './not_found.ts'
import { ownersName, stackOwner } from './stack_owner.ts'
import { fromOutside } from './trace_outside.ts'
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
import { UPLINK } from './uplink.ts'

export interface TraceResult {
  /** The device whose frame it is. */
  readonly from: string
  readonly steps: readonly TraceStep[]
  /** One a copy: a flooded frame ends in several places. */
  readonly ends: readonly TraceEnd[]
}

const LAST_PORT = 0xffff
const TTL_MAX = 255
/** What an IPv4 datagram can carry: 65,535 less its header. */
const SIZE_MAX = 65_515

/** @throws StackError `bad-argument`, `bad-address`, `not-found`, `exhausted`. */
export function trace(node: Node, request: TraceRequest): TraceResult {
  const { pool } = node.context
  checkNumbers(request)
  const target = request.to === undefined ? undefined : parseAddress(request.to)
  const record = new Trace()
  const edge = isOutside(node, request.from) ? undefined : chooseEdge(node, request.from, target)
  const device = edge?.device ?? node.uplink!.device
  const packet =
    edge === undefined
      ? fromOutside({ pool, uplink: node.uplink!, request, target, record })
      : makePacket({ node, request, edge, target, record })
  if (packet !== undefined) run(pool, { packet, device, record })
  else if (record.ends.length === 0) throw new StackError('exhausted', 'no packet memory is free')
  return { from: device.name, steps: record.steps, ends: record.ends }
}

function run(
  pool: Pool,
  { packet, device, record }: { packet: Packet; device: Device; record: Trace },
): void {
  packet.ingress = device.port
  packet.traced = true
  pool.trace = record
  try {
    device.output(packet)
  } finally {
    pool.trace = undefined
  }
}

/** A sandbox may have that name too, and goes first. */
function isOutside(node: Node, from: string): boolean {
  if (from !== UPLINK || node.uplink === undefined) return false
  return !node.edges().some(({ endpoint }) => endpoint.sandbox === from)
}

function checkNumbers(request: TraceRequest): void {
  const limits = [
    ['sport', 0, LAST_PORT],
    ['dport', 0, LAST_PORT],
    ['ttl', 1, TTL_MAX],
    ['size', 0, SIZE_MAX],
  ] as const
  for (const [key, least, most] of limits) {
    const value = request[key]
    if (value === undefined) continue
    if (Number.isInteger(value) && value >= least && value <= most) continue
    throw new StackError('bad-argument', `${key} must be from ${least} to ${most}, not ${value}`)
  }
}

/** The interface that the sandbox would take: the one on the target's subnet, else the default. */
function chooseEdge(node: Node, from: string, target: Address | undefined): Edge {
  const edges = node.edges()
  const place = ownersName(node.state.sandboxes, from)
  const named = edges.find((edge) => edge.device.name === place)
  const own = named === undefined ? edges.filter((e) => e.endpoint.sandbox === place) : [named]
  if (own.length === 0) {
    refuseBare(node, from)
    const names = edges.flatMap(({ device, endpoint }) => [endpoint.sandbox, device.name])
    if (node.uplink !== undefined) names.push(UPLINK)
    throw notFound('no sandbox or interface', from, names)
  }
  const onLink = own.find((edge) => target !== undefined && subnetOf(edge, target) !== undefined)
  const routed = own.find((edge) => target !== undefined && gatewayOf(edge, target) !== undefined)
  const edge = onLink ?? routed ?? own[0]!
  if (edge.lost !== undefined) {
    throw new StackError('not-found', `${edge.device.name} is lost: ${edge.lost}`)
  }
  return edge
}

/** A sandbox that is there, and has no interface that works. @throws StackError. */
function refuseBare(node: Node, from: string): void {
  const { sandboxes, endpoints } = node.state
  const lost = [...endpoints.values()].find(
    (endpoint) => from === endpoint.sandbox || from === endpoint.deviceName,
  )
  const why = lost && node.whyLost(lost)
  if (why !== undefined) throw new StackError('not-found', `${lost?.deviceName} is lost: ${why}`)
  const sandbox = stackOwner(sandboxes, from)
  if (sandbox === undefined) return
  const isHost = sandbox.stack === 'host'
  const bare = isHost ? "it has the host's stack" : 'none of its networks gives it one'
  const message = `sandbox "${from}" has no interface of its own: ${bare}`
  throw new StackError('bad-argument', message)
}

function subnetOf({ endpoint }: Edge, target: Address): Prefix | undefined {
  return endpoint.addresses.find((prefix) => contains(prefix, target))
}

function gatewayOf({ endpoint }: Edge, target: Address): Address | undefined {
  return endpoint.routes.find(({ destination }) => contains(destination, target))?.via
}

interface Making {
  readonly node: Node
  readonly request: TraceRequest
  readonly edge: Edge
  readonly target: Address | undefined
  readonly record: Trace
}

function makePacket({ node, request, edge, target, record }: Making): Packet | undefined {
  const { pool } = node.context
  const element = `sandbox ${edge.endpoint.sandbox}`
  if (request.raw !== undefined) {
    record.step(element, `sends the given frame by ${edge.endpoint.interfaceName}`)
    return putRaw(pool, request.raw)
  }
  if (target === undefined) throw new StackError('bad-argument', 'a trace needs an address: "to"')
  const hop = nextHop(edge, target)
  if (request.arp === true) {
    record.step(element, `asks who has ${formatAddress(target)} by ${edge.endpoint.interfaceName}`)
    return ask(pool, edge, target)
  }
  if (hop === undefined) {
    const message = `${edge.endpoint.sandbox} has no route to ${formatAddress(target)}`
    throw new StackError('bad-argument', message)
  }
  const mac = groupMac(edge, target) ?? macOf(node, edge, hop)
  const by = `by ${edge.endpoint.interfaceName}`
  if (mac === undefined) {
    const why = `nobody is known to have ${formatAddress(hop)}, so it asks first, and this is how`
    record.step(element, `to ${formatAddress(target)} ${by}: ${why}`)
    return ask(pool, edge, hop)
  }
  const fields = fieldsOf({ request, edge, target, mac })
  checkSize(edge, fields)
  const via = hop === target ? 'on link' : `via ${formatAddress(hop)}`
  const from = request.source === undefined ? '' : ` as ${formatAddress(fields.source)}`
  const what = `${formatAddress(target)} (${whatOf(fields)})`
  record.step(element, `sends${from} to ${what} ${by}, ${via}`)
  record.step(element, `to MAC ${formatMac(mac)}`)
  return buildPacket(pool, fields)
}

/** The sandbox's own stack would send fragments, which is not for us to show. */
function checkSize({ device, endpoint }: Edge, fields: PacketFields): void {
  const over = packetBytes(fields) - device.mtuBytes
  if (over <= 0) return
  const message =
    `${fields.size} octets make a packet above the MTU of ${endpoint.interfaceName}, ` +
    `${device.mtuBytes}; ${endpoint.sandbox} would send fragments. ` +
    `Trace at most ${fields.size - over}`
  throw new StackError('bad-argument', message)
}

function nextHop(edge: Edge, target: Address): Address | undefined {
  if (subnetOf(edge, target) !== undefined || isGroup(target) || isLinkLocal(target)) return target
  return gatewayOf(edge, target)
}

function isGroup(address: Address): boolean {
  return isMulticast(address) || (address.family === 4 && address.words[3] === -1)
}

function isLinkLocal({ family, words }: Address): boolean {
  return family === 6 && words[0]! >>> 22 === 0x3fa
}

/** The MAC of a group or broadcast address (RFC 1112 §6.4, RFC 2464 §7). */
function groupMac(edge: Edge, target: Address): Mac | undefined {
  const low = target.words[3]! >>> 0
  if (target.family === 6) return isGroup(target) ? { hi: 0x3333, lo: low } : undefined
  if (low === 0xffff_ffff) return BROADCAST
  if (isGroup(target)) return { hi: 0x0100, lo: 0x5e00_0000 | (low & 0x007f_ffff) }
  const subnet = subnetOf(edge, target)
  const last = subnet !== undefined && toInteger(target) === boundsOf(subnet).last
  return last && subnet.bits < familyBits(4) - 1 ? BROADCAST : undefined
}

function macOf(node: Node, edge: Edge, hop: Address): Mac | undefined {
  const { network } = edge.endpoint
  return node
    .networks()
    .find(({ state }) => state.name === network)
    ?.macOf(hop)
}

function ask(pool: Pool, { endpoint }: Edge, target: Address): Packet | undefined {
  const packet = solicit(
    pool,
    { mac: endpoint.mac!, addresses: endpoint.addresses },
    target,
    undefined,
  )
  if (packet === undefined && !endpoint.addresses.some((a) => a.address.family === target.family)) {
    const message = `${endpoint.sandbox} has no IPv${target.family} address on ${endpoint.network}`
    throw new StackError('bad-argument', message)
  }
  return packet
}

function fieldsOf({
  request,
  edge: { endpoint },
  target,
  mac,
}: Pick<Making, 'request' | 'edge'> & { target: Address; mac: Mac }): PacketFields {
  const same = endpoint.addresses.filter(({ address }) => address.family === target.family)
  const own = (same.find((prefix) => contains(prefix, target)) ?? same[0])?.address
  const source = sourceOf(request, target) ?? own
  if (source === undefined) {
    const message = `${endpoint.sandbox} has no IPv${target.family} address on ${endpoint.network}`
    throw new StackError('bad-argument', message)
  }
  return toFields(request, { sourceMac: endpoint.mac!, targetMac: mac, source, target })
}
