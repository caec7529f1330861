/**
 * What an interface has inside its namespace, as the kernel tells it: whoever has set it, and
 * whatever became of it since. Routes are the default ones, from the kernel's tables of text.
 */
import { readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { withNetlink } from '../stack/native/netlink.ts'
import { inNetns } from '../stack/native/netns.ts'
import type { FoundInside } from './links.ts'

/** Of whichever namespace the thread is in. */
const FOLDER = '/proc/thread-self/net'
const NOTHING6 = '0'.repeat(32)

/** Undefined: there is no such interface. @throws StackError if there is no such namespace. */
export function lookInside(netns: string, interfaceName: string): FoundInside | undefined {
  return inNetns(netns, () => {
    const link = withNetlink((netlink) => netlink.link(interfaceName))
    if (link === undefined) return undefined
    // Listed while it is up.
    const list = networkInterfaces()[interfaceName] ?? []
    const addresses = list.flatMap(({ cidr }) => (cidr === null ? [] : [cidr]))
    const families = [4, 6].filter((family) => hasDefault(family as 4 | 6, interfaceName))
    return { up: link.up, addresses, defaultRoutes: families as (4 | 6)[] }
  })
}

function hasDefault(family: 4 | 6, interfaceName: string): boolean {
  return readTable(family === 4 ? 'route' : 'ipv6_route')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .some((fields) => {
      // Interface, destination, gateway, flags, users, uses, metric, mask.
      if (family === 4) {
        return fields[0] === interfaceName && fields[1] === '00000000' && fields[7] === '00000000'
      }
      // Destination, bits, source, bits, gateway, metric, ..., interface. The host's own has none.
      return fields.at(-1) === interfaceName && fields[1] === '00' && fields[4] !== NOTHING6
    })
}

function readTable(file: string): string {
  try {
    return readFileSync(`${FOLDER}/${file}`, 'utf8')
  } catch {
    // A kernel without IPv6 has no table of it.
    return ''
  }
}
