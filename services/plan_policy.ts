/**
 * The policy of one endpoint as it is judged: its own rules, then its network's, named networks as
 * the prefixes they were given, and the default that is left.
 *
 * ```text
 *   rules     the endpoint's, then the network's
 *   default   the endpoint's, else the network's, else allow; on a network of gateway mode
 *             "isolated", deny
 * ```
 *
 * Without any policy of the endpoint or its network there is nothing to judge, also where the mode
 * is "isolated": its sandboxes reach each other, as Docker has it.
 */
import { familyBits, formatAddress, formatPrefix, type Prefix } from '../stack/address.ts'
import type { PolicySpec } from '../stack/ip/policy.ts'
import type { PolicyRule, PolicyRules } from '../stack/ip/policy_rules.ts'
import type {
  EndpointConfig,
  NetworkConfig,
  PolicyConfig,
  PolicyProtocol,
  PolicyRuleConfig,
} from './config/model.ts'

/** Prefixes of a network by name. */
export type Subnets = (network: string) => readonly Prefix[]

const NUMBERS: { readonly [P in PolicyProtocol]: readonly number[] } = {
  any: [],
  tcp: [6],
  udp: [17],
  icmp: [1, 58],
  sctp: [132],
}
/** What has ports, where a rule has them and names no protocol. */
const WITH_PORTS: readonly number[] = [6, 17, 132]

/** Undefined: neither the endpoint nor its network has a policy. */
export function planPolicy(
  endpoint: EndpointConfig,
  network: NetworkConfig,
  subnets: Subnets,
): PolicySpec | undefined {
  if (endpoint.policy === undefined && network.policy === undefined) return undefined
  const owners = [
    { policy: endpoint.policy, of: 'the endpoint' },
    { policy: network.policy, of: `network ${network.name}` },
  ]
  const rules = (direction: 'ingress' | 'egress'): PolicyRules => {
    const { action, of } = defaultOf(owners, direction, network)
    return {
      rules: owners.flatMap(({ policy, of: owner }) =>
        (policy?.[direction] ?? []).map((rule, i) =>
          compile(rule, `rule ${i + 1} of ${owner}`, direction, subnets),
        ),
      ),
      otherwise: action === 'allow',
      text: `the default of ${of}`,
    }
  }
  return { egress: rules('egress'), ingress: rules('ingress') }
}

interface Owner {
  readonly policy: PolicyConfig | undefined
  readonly of: string
}

function defaultOf(
  owners: readonly Owner[],
  direction: 'ingress' | 'egress',
  network: NetworkConfig,
): { readonly action: 'allow' | 'deny'; readonly of: string } {
  const key = direction === 'ingress' ? 'defaultIngress' : 'defaultEgress'
  for (const { policy, of } of owners) {
    const action = policy?.[key]
    if (action !== undefined) return { action, of }
  }
  const { gatewayMode4, gatewayMode6 } = network.options
  if ([gatewayMode4, gatewayMode6].includes('isolated'))
    return { action: 'deny', of: 'isolated networks' }
  return { action: 'allow', of: 'all policies' }
}

function compile(
  { action, far, protocol, ports }: PolicyRuleConfig,
  name: string,
  direction: 'ingress' | 'egress',
  subnets: Subnets,
): PolicyRule {
  const prefixes = far.flatMap((each) => (typeof each === 'string' ? subnets(each) : [each]))
  const names = far.map((each) => (typeof each === 'string' ? each : shortPrefix(each)))
  const spans = ports.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`))
  const words = [
    action,
    ...(protocol === 'any' ? [] : [protocol]),
    ...(names.length === 0 ? [] : [direction === 'ingress' ? 'from' : 'to', names.join(', ')]),
    ...(spans.length === 0 ? [] : [spans.length === 1 ? 'port' : 'ports', spans.join(', ')]),
  ]
  return {
    allow: action === 'allow',
    far: prefixes,
    protocols: protocol === 'any' && ports.length > 0 ? WITH_PORTS : NUMBERS[protocol],
    ports,
    text: `${name} (${words.join(' ')})`,
  }
}

function shortPrefix(prefix: Prefix): string {
  const { address, bits } = prefix
  return bits === familyBits(address.family) ? formatAddress(address) : formatPrefix(prefix)
}
