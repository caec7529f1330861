/** Policies and rates that twins choose from; many scenarios have none. */

import {
  NO_RATES,
  type PolicyConfig,
  type PolicyRuleConfig,
  type RatesConfig,
} from '../../services/config/model.ts'
import { parsePrefix } from '../../stack/address.ts'

const rule = (
  action: 'allow' | 'deny',
  protocol: PolicyRuleConfig['protocol'],
  ports: readonly number[] = [],
  far: readonly string[] = [],
): PolicyRuleConfig => ({
  action,
  protocol,
  far: far.map((each) => (each.includes('/') ? parsePrefix(each) : each)),
  ports: ports.map((first) => ({ first, last: first })),
})

const policy = (
  ingress: readonly PolicyRuleConfig[],
  egress: readonly PolicyRuleConfig[],
  [defaultIngress, defaultEgress]: readonly ('allow' | 'deny')[] = [],
): PolicyConfig => ({ ingress, egress, defaultIngress, defaultEgress })

/** The last deny little, so that there is something to remember. */
export const POLICIES: readonly (PolicyConfig | undefined)[] = [
  undefined,
  policy([rule('allow', 'tcp', [80]), rule('allow', 'udp')], [], ['deny']),
  policy([rule('deny', 'udp', [53]), rule('deny', 'icmp')], [rule('deny', 'tcp', [7777])]),
  policy([], [rule('allow', 'any', [], ['n0', '203.0.113.0/24'])], ['allow', 'deny']),
  policy([rule('allow', 'any', [], ['n0', '2001:db8::/32'])], [], ['deny', 'allow']),
  policy([], [], ['deny', 'allow']),
  policy([], []),
  policy([], [rule('deny', 'any', [9])], ['allow', 'allow']),
]

const limit = (bitsPerS: number | undefined, packetsPerS: number | undefined) => ({
  bitsPerS,
  packetsPerS,
  burstMs: 500,
})

export const RATES: readonly RatesConfig[] = [
  NO_RATES,
  NO_RATES,
  NO_RATES,
  { ingress: limit(200_000, undefined), egress: undefined },
  { ingress: undefined, egress: limit(undefined, 30) },
  { ingress: limit(1_000_000, 50), egress: limit(1_000_000, 50) },
]
