/**
 * The part of check.ts about policies and rates: they are of endpoints with an interface, whose
 * frames can be looked into, and the networks that rules name are there and have addresses.
 */
import { hasInterfaces } from './drivers.ts'
import { type Faults, nearest, type Path } from './faults.ts'
import type { Located } from './located.ts'
import type { EndpointConfig, NetworkConfig, PolicyConfig } from './model.ts'

export function checkPolicies(o: Located): void {
  const networks = new Map(o.config.networks.map((network) => [network.name, network]))
  for (const network of o.config.networks) {
    if (network.policy === undefined) continue
    const path = [...o.path(network), 'policy']
    if (!hasInterfaces(network.driver)) refuseDriver(o.faults, path, network)
    checkRules(o, network.policy, networks)
  }
  for (const endpoint of o.config.sandboxes.flatMap(({ endpoints }) => endpoints)) {
    const network = networks.get(endpoint.network)
    const path = o.path(endpoint)
    for (const key of ['policy', 'rate'] as const) {
      const given =
        key === 'policy' ? endpoint.policy : (endpoint.rate.ingress ?? endpoint.rate.egress)
      if (given === undefined || network === undefined || hasInterfaces(network.driver)) continue
      refuseDriver(o.faults, [...path, key], network)
    }
    if (endpoint.policy !== undefined) {
      checkRules(o, endpoint.policy, networks)
    }
    checkTrunk(o, endpoint, network)
  }
}

function refuseDriver(faults: Faults, path: Path, { driver }: NetworkConfig): void {
  faults.atKey(path, `driver "${driver}" gives a sandbox no interface to watch; leave this out`)
}

/** What is behind a tag is not looked at: a trunk could pass anything. */
function checkTrunk(
  o: Located,
  endpoint: EndpointConfig,
  network: NetworkConfig | undefined,
): void {
  if (endpoint.options.tagged.length === 0) return
  if (endpoint.policy === undefined && network?.policy === undefined) return
  const message = 'a policy does not look into tagged frames: it cannot be that of a trunk'
  if (endpoint.policy === undefined) o.faults.atKey(o.path(endpoint), message)
  else o.faults.atKey([...o.path(endpoint), 'policy'], message)
}

function checkRules(
  o: Located,
  policy: PolicyConfig,
  networks: ReadonlyMap<string, NetworkConfig>,
): void {
  for (const [direction, key] of [
    ['ingress', 'from'],
    ['egress', 'to'],
  ] as const) {
    for (const rule of policy[direction]) {
      for (const [i, name] of rule.far.entries()) {
        if (typeof name !== 'string' || o.broken.has(name)) continue
        const at = [...o.path(rule), key, i]
        const network = networks.get(name)
        if (network === undefined) {
          const near = nearest(name, [...networks.keys(), ...o.broken])
          const hint = near === undefined ? 'define it under "networks"' : `did you mean "${near}"?`
          o.faults.at(at, `there is no network "${name}"; ${hint}`)
        } else if (!hasInterfaces(network.driver)) {
          o.faults.at(at, `network "${name}" has no addresses: its driver is "${network.driver}"`)
        }
      }
    }
  }
}
