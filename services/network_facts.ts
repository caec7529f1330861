/** What follows from the state of a network or an endpoint, for several who need it. */
import type { Address, Prefix } from '../stack/address.ts'
import { linkLocal } from '../stack/arp/nd_emit.ts'
import type { Device } from '../stack/device.ts'
import type { Inbound, Masquerade, NatNetwork } from '../stack/ip/nat_legs.ts'
import type { GatewayMode } from './config/options_model.ts'
import type { LinkRequest } from './links.ts'
import type { EndpointState, NetworkState } from './state.ts'

/** The way to an interface outside, for listings, captures and counters. */
export interface ParentPort {
  readonly interfaceName: string
  readonly mode: string
  /** Undefined while it is lost. */
  readonly device: Device | undefined
  /** Why it was lost; undefined: it works. */
  readonly lost: string | undefined
}

/** How the network meets the outside; see {@link GatewayMode}. */
export function natOf({ options }: NetworkState): NatNetwork {
  const { gatewayMode4, gatewayMode6, masquerade, egress4, egress6 } = options
  const source = (mode: GatewayMode, egress: Address | undefined): Masquerade => {
    const hidden = masquerade && (mode === 'nat' || mode === 'nat-unprotected')
    return hidden ? (egress ?? 'interface') : 'none'
  }
  const inbound = (mode: GatewayMode): Inbound => {
    return mode === 'nat-unprotected' || mode === 'routed' ? 'open' : 'published'
  }
  return {
    masquerade4: source(gatewayMode4, egress4),
    masquerade6: source(gatewayMode6, egress6),
    inbound4: inbound(gatewayMode4),
    inbound6: inbound(gatewayMode6),
  }
}

export function hasIpv6({ subnets }: NetworkState): boolean {
  return subnets.some(({ subnet }) => subnet.address.family === 6)
}

/** Of ours, with the link-local address that the router gives its leg. */
export function gatewayAddresses(state: NetworkState): Address[] {
  const { gatewayMac, subnets } = state
  if (gatewayMac === undefined) return []
  const own = subnets.map(({ gateway }) => gateway)
  return hasIpv6(state) ? [...own, linkLocal(gatewayMac)] : own
}

/** What an interface is given inside, but what its station asks for by DHCP. */
export function givenInside(endpoint: EndpointState): Pick<LinkRequest, 'addresses' | 'routes'> {
  const isGiven = ({ address }: Prefix): boolean => !endpoint.options.dhcp || address.family !== 4
  return {
    addresses: endpoint.addresses.filter(isGiven),
    routes: endpoint.routes.filter(({ destination }) => isGiven(destination)),
  }
}
