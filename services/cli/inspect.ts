/** `tapline inspect [NAME]`: everything about a network, a sandbox or a device, as a tree. */
import type { Command } from 'commander'
import { hasInterfaces } from '../config/drivers.ts'
import type { ConflictEnd } from '../overlay/conflicts.ts'
import type {
  EndpointDetail,
  Inspection,
  NetworkDetail,
  ParentRow,
  SandboxDetail,
} from '../views.ts'
import type { DhcpRow } from '../views_leases.ts'
import type { PortRow, ServiceRow, UplinkRow } from '../views_outside.ts'
import { servicePort } from './columns.ts'
import { type DaemonOptions, examples, openClient, readingCommand } from './command.ts'
import { print, printable, printJson, style } from './output.ts'
import { counted } from './table.ts'

/** Columns of the names of fields. */
const LABEL_COLUMNS = 14

export function addInspect(program: Command): void {
  readingCommand(program, 'inspect [name]', 'all about a network, a sandbox or a device')
    .addHelpText(
      'after',
      examples('tapline inspect', 'tapline inspect front', 'tapline inspect web1/eth0 --json'),
    )
    .action(inspect)
}

async function inspect(name: string | undefined, options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const found = await client.get<Inspection>('inspect', { name })
  if (options.json) return printJson(found)
  const { networks, sandboxes, services, ports, uplink } = found
  const blocks = [
    ...networks.map(networkBlock),
    ...sandboxes.map((sandbox) => sandboxBlock(sandbox, ports)),
    ...services.map(serviceBlock),
    ...(uplink === null ? [] : [uplinkBlock(uplink)]),
  ]
  print(blocks.map((block) => block.join('\n')).join('\n\n'))
}

function networkBlock(network: NetworkDetail): string[] {
  const { options, driver } = network
  const real = hasInterfaces(driver)
  return [
    style('bold', `network ${printable(network.name)}`),
    ...fields(2, {
      driver,
      parent: network.parent && parentText(network.parent),
      internal: real ? network.internal : null,
      subnets: network.subnets.join(' '),
      gateways: network.gateways.join(' '),
      'gateway MAC': network.gatewayMac,
      dhcp: network.dhcp && dhcpText(network.dhcp),
      ...(real && {
        mtu: network.mtu,
        'arp proxy': options.arpProxy,
        'mac guard': options.macGuard,
        isolated: options.isolated,
        multicast: multicastText(network),
        vlan: options.vlanFiltering ? 'filtering' : 'off',
        offload: options.offload,
      }),
    }),
    ...overlayLines(network),
    ...network.ports.map((port) => {
      const { name, state, learned, learnRefused } = port
      return `  port ${printable(name)}: ${state}, ${learned} learned, ${learnRefused} refused`
    }),
  ]
}

function dhcpText({ pool, size, used, refused, error }: DhcpRow): string {
  const state = `${pool}, ${used} of ${size} in use, ${refused} refused`
  return error === null ? state : `${state}: ${error}`
}

function parentText({ interface: name, mode, state, lost }: ParentRow): string {
  return `${name}, mode ${mode}, ${lost === null ? state : `${state} (${lost})`}`
}

function overlayLines({ overlay }: NetworkDetail): string[] {
  if (overlay === null) return []
  const { vlans, peers, remote, conflicts, refused } = overlay
  return [
    ...fields(2, {
      vni: overlay.vni,
      'vlan vnis': vlans.map(({ vid, vni }) => `${vid}:${vni}`).join(' '),
      node: overlay.node,
      vtep: `${overlay.vtep} port ${overlay.port}`,
      group: overlay.group,
      learning: overlay.learning || null,
      'not taken in': refused || null,
    }),
    ...peers.map(({ vni, vtep, member, endpoints, pathMtu }) => {
      const known = counted(endpoints, 'endpoint')
      const part = member ? '' : ', no member'
      return `  peer ${vtep}: VNI ${vni}, ${known}, path MTU ${pathMtu}${part}`
    }),
    ...remote.map(({ name, vtep, mac, addresses }) => {
      return `  remote ${printable(name || mac)}: ${addresses.join(' ')} ${mac} at ${vtep}`
    }),
    ...conflicts.map(({ address, kept, refused: other }) => {
      const both = `${endName(kept)} has it, ${endName(other)} claims it`
      return `  conflict ${address}: ${both}`
    }),
  ]
}

function endName({ name, node, mac }: ConflictEnd): string {
  return `${printable(name || mac)} on ${printable(node)}`
}

/** Who asks which groups are wanted; without snooping nobody has to. */
function multicastText({ multicast }: NetworkDetail): string {
  if (multicast === null) return 'flooded'
  const { querier4, querier6 } = multicast
  return `snooping, querier: ${querier4} (IPv4), ${querier6} (IPv6)`
}

function sandboxBlock(sandbox: SandboxDetail, ports: readonly PortRow[]): string[] {
  const own = ports.filter((port) => port.sandbox === sandbox.name)
  return [
    style('bold', `sandbox ${printable(sandbox.name)}`),
    ...fields(2, {
      netns: sandbox.netns,
      stack: sandbox.stack,
      published: own.map(({ published }) => published).join(' '),
    }),
    ...sandbox.endpoints.flatMap(endpointBlock),
  ]
}

function serviceBlock(service: ServiceRow): string[] {
  return [
    style('bold', `service ${printable(service.name)}`),
    ...fields(2, {
      network: service.network,
      mode: service.mode,
      vips: service.vips.join(' '),
      ports: service.ports.map(servicePort).join(' '),
      scheduler: service.scheduler,
      'affinity ms': service.affinityMs || null,
      healthcheck: service.healthcheck,
      connections: service.total,
      refused: service.refused || null,
      'clients that stick': service.clients || null,
    }),
    ...service.backends.map(({ sandbox, addresses, weight, state, flows, ...row }) => {
      const name = `  backend ${printable(sandbox)}: ${addresses.join(' ')}`
      const counts = `${flows} flows, ${row.total} in all, ${row.failures} failed`
      const checks = row.checks.map((text) => `; ${printable(text)}`).join('')
      return `${name}, weight ${weight}, ${state}, ${counts}${checks}`
    }),
  ]
}

function uplinkBlock(uplink: UplinkRow): string[] {
  return [
    style('bold', 'uplink'),
    ...fields(2, {
      interface: uplink.interface,
      netns: uplink.host ? "the host's own" : uplink.netns,
      state: uplink.lost === null ? uplink.state : `${uplink.state} (${uplink.lost})`,
      mac: uplink.mac,
      addresses: uplink.addresses.join(' '),
      gateways: uplink.gateways.join(' '),
      mtu: uplink.mtu,
    }),
  ]
}

function endpointBlock(endpoint: EndpointDetail): string[] {
  const { options, routes, policy, rate } = endpoint
  const rules = (way: 'ingress' | 'egress', otherwise: string | undefined): string[] =>
    policy === null
      ? []
      : [
          ...policy[way].map((rule) => `    ${way} ${printable(rule)}`),
          `    ${way} else ${otherwise}`,
        ]
  return [
    `  endpoint on ${printable(endpoint.network)}`,
    ...fields(4, {
      interface: endpoint.interface,
      device: endpoint.device,
      state: endpoint.lost === null ? endpoint.state : `${endpoint.state} (${endpoint.lost})`,
      mac: endpoint.mac,
      addresses: endpoint.addresses.join(' '),
      mtu: endpoint.mtu,
      aliases: endpoint.aliases.join(' '),
      routes: routes.map(({ destination, via }) => `${destination} via ${via}`).join(', '),
      isolated: options.isolated || null,
      pvid: options.pvid ?? null,
      tagged: options.tagged.join(' '),
      'rate ingress': rate.ingress,
      'rate egress': rate.egress,
    }),
    ...rules('ingress', policy?.defaultIngress),
    ...rules('egress', policy?.defaultEgress),
  ]
}

/** One line a field; those without a value are left out. */
function fields(
  indent: number,
  values: Readonly<Record<string, string | number | boolean | null>>,
): string[] {
  return Object.entries(values).flatMap(([label, value]) => {
    if (value === null || value === '') return []
    const text = typeof value === 'boolean' ? (value ? 'yes' : 'no') : printable(String(value))
    return [`${' '.repeat(indent)}${`${label}:`.padEnd(LABEL_COLUMNS)} ${text}`]
  })
}
