/** The part of plan.ts about the outside: the uplink, and static routes. */
import { contains, formatAddress, formatPrefix } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import type { Config, RouteConfig, UplinkConfig } from './config/model.ts'
import { TABLE_PREFIX } from './host/ruleset.ts'
import { MacPool } from './mac_pool.ts'
import { type NetworkState, type RouteState, UPLINK_KEY, type UplinkState } from './state.ts'

export function uplinkState({ name, uplink: config }: Config): UplinkState | undefined {
  if (config === undefined) return undefined
  const { mac, interfaceName, host, ...rest } = config
  return {
    ...rest,
    hostTable: host ? `${TABLE_PREFIX}${name}` : undefined,
    interface: interfaceName,
    mac: mac ?? new MacPool().derive(config.addresses[0]!.address),
  }
}

/** @throws StackError `bad-config` if it leads nowhere. */
export function routeState(
  { to, via }: RouteConfig,
  networks: ReadonlyMap<string, NetworkState>,
  uplink: UplinkConfig | undefined,
): RouteState {
  if (via === undefined) return { to, via, network: undefined }
  for (const network of networks.values()) {
    const routed = network.gatewayMac !== undefined
    if (routed && network.subnets.some(({ subnet }) => contains(subnet, via))) {
      return { to, via, network: network.name }
    }
  }
  if (uplink?.addresses.some((own) => contains(own, via))) return { to, via, network: UPLINK_KEY }
  const message = `route to ${formatPrefix(to)}: ${formatAddress(via)} is not on any network`
  throw new StackError('bad-config', message)
}
