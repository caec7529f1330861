/**
 * The only place where the parts of a node are put together: a daemon hands in TAPs and the system
 * clock, a test cables and a virtual one.
 *
 * What draws from `random` does so in the same order whatever is left out, so that a node without a
 * flow cache does the same as one with it.
 */
import type { Address } from '../stack/address.ts'
import type { Clock } from '../stack/clock.ts'
import type { Device } from '../stack/device.ts'
import { Conntrack } from '../stack/ip/conntrack.ts'
import { ExpiryResets } from '../stack/ip/expiry_resets.ts'
import { FlowCache } from '../stack/ip/flow_cache.ts'
import type { HookParts } from '../stack/ip/hooks.ts'
import { Nat } from '../stack/ip/nat.ts'
import { PolicyFlows } from '../stack/ip/policy_flows.ts'
import { Router } from '../stack/ip/router.ts'
import type { Pool } from '../stack/packet.ts'
import type { Random } from '../stack/random.ts'
import { Balancer } from './balancer/balancer.ts'
import { Captures } from './captures.ts'
import type { Context } from './context.ts'
import { DhcpPort } from './dhcp/port.ts'
import type { DnsHost } from './dns/host.ts'
import { NameService } from './dns/service.ts'
import { makeDrivers } from './drivers/registry.ts'
import type { AcceptForwarded, Links } from './links.ts'
import type { Log } from './log.ts'
import { Node } from './node.ts'
import { Overlays } from './overlay/overlays.ts'
import { ServiceSet } from './service_set.ts'

/** How much a node remembers; what is left out has the stack's own defaults. */
export interface NodeLimits {
  /** Flows in the flow cache, of each family; 0: there is no cache. */
  readonly flowsMax?: number
  /** Connections tracked. */
  readonly connectionsMax?: number
}

export interface NodeOptions extends NodeLimits {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly links: Links
  readonly log: Log
  /** Where names are asked outside, and heard inside sandboxes; left out: nowhere. */
  readonly dns?: DnsHost | undefined
  /** Where the host is the outside; left out: who looks after its firewall does that too. */
  readonly accept?: AcceptForwarded | undefined
  /** Told of every device that is to be polled, and when it is no more. */
  readonly onDevice?: (device: Device, added: boolean) => void
}

export function buildNode(options: NodeOptions): Node {
  const { pool, clock, random, links, log, accept } = options
  const captures = new Captures()
  const conntrack = new Conntrack({
    pool,
    clock,
    seed: random.bits(),
    ...(options.connectionsMax === undefined ? {} : { entriesMax: options.connectionsMax }),
  })
  let nat: Nat | undefined
  const hooks = (parts: HookParts): Nat => {
    nat = new Nat({ pool, clock, random, conntrack, ...parts })
    return nat
  }
  const router = new Router({ pool, clock, random, hooks })
  const flows = makeFlows(options, { conntrack, router, seed: random.bits() })
  const expiryResets = new ExpiryResets({
    pool,
    conntrack,
    send: (packet) => {
      const [leg] = router.interfaces()
      if (leg === undefined) pool.free(packet)
      else router.originate(packet, leg)
    },
  })
  const onDevice = options.onDevice ?? ((): void => {})
  const policies = new PolicyFlows({
    pool,
    clock,
    random,
    ...(options.connectionsMax === undefined ? {} : { flowsMax: options.connectionsMax }),
  })
  flows?.guard(policies)
  const dhcpPort = new DhcpPort(router)
  const own = { pool, clock, random, links, log, router, captures, onDevice, dhcpPort }
  const overlays = new Overlays({ pool, clock, random, links, log, router, flows })
  const parts = { ...own, conntrack, flows, policies, expiryResets, overlays }
  const context: Context = { ...parts, accept, nat: nat!, tally: { lostDevices: 0 } }
  const netnsOf = (sandbox: string): string | undefined => node.netnsOf(sandbox)
  const standIn = (address: Address): Address | undefined => node.uplink?.standIn(address)
  const balancing = { context, netnsOf, standIn }
  const services = new ServiceSet((service) => new Balancer(balancing, service))
  const names = new NameService({
    context,
    host: options.dns,
    isReady: (service, sandbox, address) => services.isReady(service, sandbox, address),
  })
  overlays.names = names.registry
  const node = new Node(context, { drivers: makeDrivers(context), services, names })
  return node
}

/** Undefined: there is to be no flow cache. */
function makeFlows(
  { pool, clock, flowsMax }: NodeOptions,
  { conntrack, router, seed }: { conntrack: Conntrack; router: Router; seed: number },
): FlowCache | undefined {
  if (flowsMax === 0) return undefined
  const limit = flowsMax === undefined ? {} : { flowsMax }
  return new FlowCache({ pool, clock, seed, conntrack, nextHops: router.neighbors, ...limit })
}
