/** The part of check.ts about driver `macvlan`: whose a parent is, and what does not go with it. */
import type { Located } from './located.ts'

export function checkMacvlan(o: Located): void {
  const owners = new Map<string, string>()
  for (const network of o.config.networks) {
    const { macvlan, vlanFiltering } = network.options
    if (macvlan === undefined) continue
    const path = [...o.path(network), 'driver_opts']
    const { parent, netns = '', mode } = macvlan
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
    if (parent === undefined) continue
    const owner = owners.get(`${netns} ${parent}`)
    owners.set(`${netns} ${parent}`, owner ?? network.name)
    if (owner !== undefined) {
      const message = `"${parent}" is the parent of network "${owner}" already`
      o.faults.at([...path, 'parent'], message)
    }
  }
}
