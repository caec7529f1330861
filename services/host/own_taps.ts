/** Interfaces of the host that are TAPs of ours, and the nets between them and the host. */
import { formatPrefix, networkOf, overlaps, type Prefix } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { type Netlink, withNetlink } from '../../stack/native/netlink.ts'
import { hostAddresses } from './host_addresses.ts'

/** TAPs of ours on one host: a number follows. */
const INTERFACE = 'tapline'
const INTERFACES_MAX = 64

/** A TAP ends with its daemon, so that an interface is a daemon at work. */
export function isThere(interfaceName: string): boolean {
  if (!interfaceName.startsWith(INTERFACE)) return false
  return withNetlink((netlink) => netlink.link(interfaceName)) !== undefined
}

/** Two interfaces with one transfer net would take each other's traffic. @throws StackError. */
export function refuseTakenNet(peerAddresses: readonly Prefix[]): void {
  for (const { interfaceName, prefix: there, isLinkLocal } of hostAddresses()) {
    if (isLinkLocal) continue
    // A wider net there is no harm: the longest prefix counts.
    const peer = peerAddresses.find((one) => one.bits <= there.bits && overlaps(one, there))
    if (peer === undefined) continue
    const net = formatPrefix({ address: networkOf(peer), bits: peer.bits })
    const hint = 'give this daemon another name, by which it is chosen, or name "addresses" and'
    const message = `the transfer net ${net} is on ${interfaceName} of this host already: ${hint}`
    throw new StackError('exists', `${message} "peer_addresses" of the uplink`)
  }
}

/** @throws StackError `exhausted`. */
export function freeInterface(): string {
  return withNetlink((netlink) => {
    for (let i = 0; i < INTERFACES_MAX; i++) {
      const name = `${INTERFACE}${i}`
      if (netlink.link(name) === undefined) return name
    }
    throw new StackError('exhausted', `this host has ${INTERFACES_MAX} interfaces of ours already`)
  })
}

/** @throws StackError `not-found`. */
export function onInterface(name: string, work: (netlink: Netlink, index: number) => void): void {
  withNetlink((netlink) => {
    const link = netlink.link(name)
    if (link === undefined) throw new StackError('not-found', `no interface ${name}`)
    work(netlink, link.index)
  })
}
