/**
 * The parent of a `macvlan` network, by Docker's notation: `eth0`, or `eth0.10` for VLAN 10 of it.
 * The kernel needs no VLAN device for that; see taps.ts.
 */
import { VID_MAX } from '../../stack/eth/vlan.ts'

/** IFNAMSIZ less its terminating zero. */
const NAME_MAX = 15

/** `vid` 0: the name has none, and all of it is the interface's. */
export function splitVlan(name: string): { readonly base: string; readonly vid: number } {
  const match = /^(.+)\.(\d{1,4})$/.exec(name)
  const vid = Number(match?.[2] ?? 0)
  return vid >= 1 && vid <= VID_MAX ? { base: match![1]!, vid } : { base: name, vid: 0 }
}

/** Why a parent's name cannot be one; undefined: it can. */
export function parentFault(name: string): string | undefined {
  const { base } = splitVlan(name)
  if (/^[^/:\s]+$/.test(name) && base.length <= NAME_MAX && base !== 'lo') return undefined
  return `"${name}" is not an interface: a name such as "eth0", or "eth0.10" for VLAN 10 of it`
}
