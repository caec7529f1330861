/** A veth pair between two namespaces, as the underlay of two tunnel ends. */
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
