/** The part of check.ts about the outside: the uplink's addresses, and who publishes what. */
import {
  contains,
  formatAddress,
  formatPrefix,
  overlaps,
  sameAddress,
} from '../../stack/address.ts'
import { formatPort, type PortConfig, portsClash } from '../ports.ts'
import type { Located } from './located.ts'
import type { SandboxConfig, UplinkConfig } from './model.ts'
import { boundPort, hostFault, publishingNetwork } from './publishing.ts'

export function checkOutside(o: Located): void {
  if (o.config.uplink !== undefined) checkUplink(o, o.config.uplink)
  const before: { readonly sandbox: SandboxConfig; readonly port: PortConfig }[] = []
  for (const sandbox of o.config.sandboxes) {
    const network = publishingNetwork(sandbox, o.config.networks)
    if (network === undefined) checkReachable(o, sandbox)
    for (const port of sandbox.ports) {
      const bound = network === undefined ? port : boundPort(port, network)
      const other = before.find((earlier) => portsClash(earlier.port, bound))
      if (other !== undefined) {
        const whose = `${formatPort(other.port)} of sandbox "${other.sandbox.name}"`
        o.faults.at(o.path(port), `${formatPort(bound)} overlaps ${whose}`)
      }
      before.push({ sandbox, port: bound })
      const fault = network && hostFault(bound, network, o.config.uplink)
      if (fault !== undefined) o.faults.at(o.path(port), fault)
    }
  }
}

function checkUplink(o: Located, uplink: UplinkConfig): void {
  const { addresses, gateways, netns, interfaceName } = uplink
  if (addresses.length === 0) {
    o.faults.at(['uplink'], 'an uplink needs "addresses", such as [ 203.0.113.2/24 ]')
  }
  for (const [i, own] of addresses.entries()) {
    const network = o.config.networks.find((n) => n.subnets.some((s) => overlaps(s.subnet, own)))
    if (network === undefined) continue
    const message = `${formatPrefix(own)} overlaps network "${network.name}"`
    o.faults.at(['uplink', 'addresses', i], message)
  }
  for (const [i, peer] of uplink.peerAddresses.entries()) {
    if (!addresses.some((own) => sameAddress(own.address, peer.address))) continue
    const message = `${formatAddress(peer.address)} is the uplink's own address`
    o.faults.at(['uplink', 'peer_addresses', i], message)
  }
  const families = new Set<number>()
  for (const gateway of gateways) {
    const text = formatAddress(gateway)
    if (families.has(gateway.family)) {
      o.faults.at(['uplink', 'gateway'], `${text}: a second gateway of IPv${gateway.family}`)
    }
    families.add(gateway.family)
    if (addresses.some((own) => sameAddress(own.address, gateway))) {
      o.faults.at(['uplink', 'gateway'], `${text} is the uplink's own address`)
    } else if (!addresses.some((own) => contains(own, gateway))) {
      o.faults.at(['uplink', 'gateway'], `${text} is on no network of "addresses"`)
    }
  }
  const sandbox = o.config.sandboxes.find((candidate) => candidate.netns === netns)
  if (interfaceName === undefined && sandbox !== undefined) {
    const message = `sandbox "${sandbox.name}" is there; the outside is a namespace of its own`
    o.faults.at(['uplink', 'netns'], message)
  }
}

function checkReachable(o: Located, sandbox: SandboxConfig): void {
  if (sandbox.ports.length === 0) return
  if (sandbox.endpoints.some(({ network }) => o.broken.has(network))) return
  const message = 'publishing needs a network of driver "bridge" that the sandbox is on'
  o.faults.atKey([...o.path(sandbox), 'ports'], message)
}
