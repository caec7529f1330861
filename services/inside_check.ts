/**
 * Whether interfaces are inside their namespaces what they were made, and what is wrong if not:
 * others may set them down, or take addresses and routes away. Nothing is changed here.
 */
import { setImmediate } from 'node:timers/promises'
import { formatAddress, formatPrefix, parsePrefix } from '../stack/address.ts'
import type { LinkRequest, Links } from './links.ts'
import { givenInside } from './network_facts.ts'
import type { Node } from './node.ts'

type Expected = Pick<LinkRequest, 'netns' | 'interfaceName' | 'addresses' | 'routes'>
type Look = Pick<Links, 'lookInside'>

/** An interface that is not what it was made. */
export interface InsideFault {
  readonly sandbox: string
  readonly network: string
  /** In words. */
  readonly fault: string
}

/** Look at every interface that was made here; the event loop has its turn between them. */
export async function checkInside(node: Node): Promise<InsideFault[]> {
  const found: InsideFault[] = []
  for (const endpoint of node.state.endpoints.values()) {
    const { sandbox, network, interfaceName, mac, handOver } = endpoint
    const netns = node.netnsOf(sandbox)
    if (mac === undefined || handOver !== undefined || netns === undefined) continue
    const lost = node.whyLost(endpoint)
    if (lost !== undefined) found.push({ sandbox, network, fault: `${interfaceName}: ${lost}` })
    // It may have left meanwhile.
    const held = node.network(network)?.edge(sandbox)?.endpoint
    if (lost !== undefined || held !== endpoint) continue
    const expected = { netns, interfaceName, ...givenInside(endpoint) }
    const faults = faultsOf(expected, node.context.links)
    found.push(...faults.map((fault) => ({ sandbox, network, fault })))
    await setImmediate()
  }
  return found
}

function faultsOf(expected: Expected, links: Look): string[] {
  try {
    return faultsInside(expected, links)
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)]
  }
}

/**
 * What is missing, in words; empty: nothing, or these links have no inside to look at.
 *
 * @throws StackError if there is no such namespace.
 */
export function faultsInside(expected: Expected, links: Look): string[] {
  if (links.lookInside === undefined) return []
  const { netns, interfaceName, addresses, routes } = expected
  const found = links.lookInside(netns, interfaceName)
  if (found === undefined) return [`there is no ${interfaceName} in ${netns}`]
  if (!found.up) return [`${interfaceName} is down in ${netns}`]
  const there = found.addresses.map((text) => formatPrefix(parsePrefix(text)))
  const missing = addresses
    .map(formatPrefix)
    .filter((address) => !there.includes(address))
    .map((address) => `${interfaceName} has no address ${address}`)
  const unrouted = routes
    .filter(({ destination, via }) => {
      return destination.bits === 0 && !found.defaultRoutes.includes(via.family)
    })
    .map(({ via }) => `${interfaceName} has no default route via ${formatAddress(via)}`)
  return [...missing, ...unrouted]
}
