/** The part of check.ts about DHCP: a server needs an IPv4 subnet, and what it gives lies in it. */
import { type Address, contains, formatAddress, formatPrefix } from '../../stack/address.ts'
import { formatMac } from '../../stack/eth/mac.ts'
import { defaultGateway, Subnet } from '../ipam.ts'
import { formatRange } from './dhcp.ts'
import { addressKey, type Holders, type Located } from './located.ts'
import type { NetworkConfig, SubnetConfig } from './model.ts'
import { DhcpKey } from './options.ts'

/** @param held - gateways and auxiliary addresses are in it already. */
export function checkDhcp(o: Located, held: Holders): void {
  for (const network of o.config.networks) {
    const { dhcp } = network
    if (dhcp === undefined) continue
    const path = [...o.path(network), 'driver_opts']
    if (!network.ipv4) {
      o.faults.atKey([...path, DhcpKey.Dhcp], 'a DHCP server needs IPv4 on its network')
      continue
    }
    const subnet = network.subnets.find((s) => s.subnet.address.family === 4)
    const { range, hosts, routes } = dhcp
    if (subnet === undefined) {
      if (range ?? hosts[0] ?? routes[0]) {
        const message = 'needs a subnet under ipam.config of the network'
        o.faults.atKey([...path, range ? DhcpKey.Range : DhcpKey.Hosts], message)
      }
      continue
    }
    const at = [...path, DhcpKey.Range]
    if (range !== undefined && !isHosts(subnet, [range.first, range.last])) {
      o.faults.at(at, `${formatRange(range)} is not inside ${formatPrefix(subnet.subnet)}`)
    } else if (range !== undefined && isInside(range, subnet.gateway ?? defaultGateway(subnet))) {
      o.faults.at(at, `${formatRange(range)} has the gateway in it`)
    }
    checkHosts(o, { network, subnet, held })
    for (const { via } of routes) {
      if (contains(subnet.subnet, via)) continue
      const message = `${formatAddress(via)} is not in ${formatPrefix(subnet.subnet)}`
      o.faults.at([...path, DhcpKey.Routes], message)
    }
  }
}

function checkHosts(
  o: Located,
  { network, subnet, held }: { network: NetworkConfig; subnet: SubnetConfig; held: Holders },
): void {
  const path = [...o.path(network), 'driver_opts', DhcpKey.Hosts]
  for (const { mac, address } of network.dhcp!.hosts) {
    const text = formatAddress(address)
    if (!isHosts(subnet, [address])) {
      o.faults.at(path, `${text} is not a host address of ${formatPrefix(subnet.subnet)}`)
      continue
    }
    const who = held.take(addressKey(network, address), `the DHCP host ${formatMac(mac)}`)
    if (who !== undefined) o.faults.at(path, `${text} is taken by ${who}`)
  }
}

function isHosts(config: SubnetConfig, addresses: readonly Address[]): boolean {
  const subnet = new Subnet(config)
  return addresses.every((one) => contains(config.subnet, one) && subnet.isHost(one))
}

function isInside({ first, last }: { first: Address; last: Address }, address: Address): boolean {
  const [low, at, high] = [first, address, last].map(({ words }) => words[3]! >>> 0)
  return address.family === 4 && low! <= at! && at! <= high!
}
