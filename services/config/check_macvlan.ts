/** The part of check.ts about driver `macvlan`: whose a parent is, and what does not go with it. */
import type { Located } from './located.ts'
import type { EndpointConfig, NetworkConfig } from './model.ts'

export function checkMacvlan(o: Located): void {
  const owners = new Map<string, string>()
  for (const network of o.config.networks) {
    const { macvlan, vlanFiltering } = network.options
    if (macvlan === undefined) continue
    const path = [...o.path(network), 'driver_opts']
    const { parent, netns = '', mode, leased } = macvlan
    if (vlanFiltering) {
      const message = 'a network of driver "macvlan" is one VLAN: name it by the parent, "eth0.10"'
      o.faults.atKey([...path, 'tapline.vlan_filtering'], message)
    }
    const own = o.config.sandboxes.flatMap(({ endpoints }) =>
      endpoints.filter((endpoint) => endpoint.network === network.name),
    )
    if (mode === 'passthru' && own.length > 1) {
      const message = 'in mode "passthru" one endpoint has the parent, and this is a second'
      o.faults.atKey(o.path(own[1]!), message)
    }
    if (leased) checkLeased(o, network, own)
    if (parent === undefined) continue
    const owner = owners.get(`${netns} ${parent}`)
    owners.set(`${netns} ${parent}`, owner ?? network.name)
    if (owner !== undefined) {
      const message = `"${parent}" is the parent of network "${owner}" already`
      o.faults.at([...path, 'parent'], message)
    }
  }
}

/** Nothing is left to say about addresses that others give. */
function checkLeased(o: Located, network: NetworkConfig, own: readonly EndpointConfig[]): void {
  const path = o.path(network)
  const why = 'addresses of this network are leased: "ipam.driver" is "dhcp"'
  const { parent, hostAccess } = network.options.macvlan!
  if (parent === undefined) o.faults.at([...path, 'driver_opts'], 'DHCP needs a "parent" to ask by')
  if (network.subnets.length > 0) o.faults.atKey([...path, 'ipam', 'config'], why)
  if (network.ipv6) o.faults.atKey([...path, 'enable_ipv6'], 'DHCP here is of IPv4 only')
  if (hostAccess) {
    const reason = 'the host is led to an endpoint when it joins, and its address is leased later'
    const message = `does not go with "ipam.driver" "dhcp": ${reason}; leave one of them out`
    const name = 'tapline.host_access'
    o.faults.atKey([...path, 'driver_opts', name], `"${name}" ${message}`)
  }
  for (const endpoint of own) {
    if (endpoint.address4 === undefined) continue
    o.faults.at([...o.path(endpoint), 'ipv4_address'], why)
  }
}
