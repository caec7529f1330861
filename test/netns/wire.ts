/** What tunnel ends have below them: a veth pair between two, a switch between more. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { addNetns, deleteNetns, inNetns } from '../../stack/native/netns.ts'

let serial = 0

/** `ip`, with these arguments. */
export function ip(...args: string[]): void {
  execFileSync('ip', args)
}

export interface Wire {
  readonly names: readonly [string, string]
  remove(): void
}

/** Two namespaces with a veth pair between them: 10.200.0.1 and .2, fd00:200::1 and ::2. */
export function makeWire(): Wire {
  const names = ['a', 'b'].map((end) => `tlw${process.pid}x${serial}${end}`) as [string, string]
  serial++
  for (const name of names) addNetns(name)
  const pair = ['dev', 'w0', 'netns', names[0], 'type', 'veth']
  ip('link', 'add', ...pair, 'peer', 'name', 'w0', 'netns', names[1])
  for (const [i, name] of names.entries()) {
    // Addresses may be used at once, the link-local one too, which asks for neighbors.
    inNetns(name, () => writeFileSync('/proc/sys/net/ipv6/conf/w0/accept_dad', '0'))
    ip('-n', name, 'addr', 'add', `10.200.0.${i + 1}/24`, 'dev', 'w0')
    ip('-n', name, 'addr', 'add', `fd00:200::${i + 1}/64`, 'dev', 'w0', 'nodad')
    ip('-n', name, 'link', 'set', 'w0', 'up')
  }
  return { names, remove: () => names.forEach(deleteNetns) }
}

/** Namespaces that one switch joins, in `hub`: 10.200.0.1, .2 ... on their interface `link`. */
export function makeHub(hub: string, names: readonly string[], link: string): void {
  for (const name of [hub, ...names]) {
    addNetns(name)
    ip('-n', name, 'link', 'set', 'lo', 'up')
  }
  ip('-n', hub, 'link', 'add', 'br0', 'up', 'type', 'bridge')
  for (const [i, name] of names.entries()) {
    const pair = ['dev', `p${i + 1}`, 'netns', hub, 'type', 'veth', 'peer', 'name', link]
    ip('link', 'add', ...pair, 'netns', name)
    ip('-n', hub, 'link', 'set', `p${i + 1}`, 'master', 'br0', 'up')
    ip('-n', name, 'addr', 'add', `10.200.0.${i + 1}/24`, 'dev', link)
    ip('-n', name, 'link', 'set', link, 'up')
  }
}
