/**
 * The part of check.ts about overlay networks: VNIs are given once, endpoints of other nodes are
 * on a subnet and have what nobody else has, and a packet of the network fits into the underlay.
 */
import { contains, formatAddress } from '../../stack/address.ts'
import { formatMac } from '../../stack/eth/mac.ts'
import { addressKey, type Holders, type Located } from './located.ts'
import type { NetworkConfig } from './model.ts'
import { OverlayKey } from './options.ts'
import { defaultMtuBytes, vtepFault } from './overlay.ts'
import type { NodeConfig, OverlayConfig, RemoteConfig } from './overlay_model.ts'

interface Overlaid {
  readonly network: NetworkConfig
  readonly overlay: OverlayConfig
  readonly node: NodeConfig
}

/** @param held - addresses of gateways, sandboxes and services are in it already. */
export function checkOverlays(o: Located, held: Holders): void {
  const { networks, node } = o.config
  if (node === undefined) return
  const vnis = new Map<number, string>()
  for (const network of networks) {
    const { overlay } = network
    if (overlay === undefined) continue
    const it: Overlaid = { network, overlay, node }
    checkVnis(o, it, vnis)
    checkMtu(o, it)
    const macs = new Map<string, string>()
    for (const remote of overlay.remote) checkRemote(o, { ...it, remote, held, macs })
  }
}

function checkVnis(o: Located, { network, overlay }: Overlaid, vnis: Map<number, string>): void {
  const path = [...o.path(network), 'driver_opts']
  const take = (vni: number, key: string, who: string): void => {
    if (vni === 0) return
    const other = vnis.get(vni)
    if (other !== undefined) o.faults.at([...path, key], `VNI ${vni} is that of ${other}`)
    else vnis.set(vni, who)
  }
  take(overlay.vni, OverlayKey.Vni, `network "${network.name}"`)
  const vids = new Set<number>()
  for (const { vid, vni } of overlay.vlans) {
    take(vni, OverlayKey.Vlans, `VLAN ${vid} of network "${network.name}"`)
    if (vids.has(vid)) o.faults.at([...path, OverlayKey.Vlans], `VLAN ${vid} is given twice`)
    vids.add(vid)
  }
  if (overlay.vlans.length === 0 || network.options.vlanFiltering) return
  const message = `"${OverlayKey.Vlans}" needs "tapline.vlan_filtering: true"`
  o.faults.atKey([...path, OverlayKey.Vlans], message)
}

function checkMtu(o: Located, { network, overlay, node }: Overlaid): void {
  const most = defaultMtuBytes('overlay', node, overlay.encrypted)
  const { mtuBytes } = network.options
  if (mtuBytes <= most) return
  const { mtuBytes: under } = node.underlay
  const message =
    `an MTU of ${mtuBytes} does not fit into the underlay's of ${under}: at most ${most}; ` +
    'say node.underlay.mtu if the underlay carries more'
  o.faults.at([...o.path(network), 'driver_opts', 'com.docker.network.driver.mtu'], message)
}

function checkRemote(
  o: Located,
  it: Overlaid & {
    readonly remote: RemoteConfig
    readonly held: Holders
    readonly macs: Map<string, string>
  },
): void {
  const { network, overlay, node, remote, held, macs } = it
  const path = o.path(remote)
  const fault = vtepFault(remote.vtep, node.underlay.address)
  if (fault !== undefined) o.faults.at([...path, 'vtep'], fault)
  const who = `the endpoint at ${formatAddress(remote.vtep)}`
  const mac = formatMac(remote.mac)
  const other = macs.get(mac)
  if (other !== undefined) o.faults.at([...path, 'mac'], `${mac} is taken by ${other}`)
  macs.set(mac, who)
  const { vni } = remote
  if (vni !== undefined && ![overlay, ...overlay.vlans].some((each) => each.vni === vni)) {
    o.faults.at([...path, 'vni'], `VNI ${vni} is not one of network "${network.name}"`)
  }
  for (const address of remote.addresses) {
    const at = [...path, address.family === 4 ? 'ipv4_address' : 'ipv6_address']
    const text = formatAddress(address)
    const written = network.subnets.some((s) => s.subnet.address.family === address.family)
    if (written && !network.subnets.some(({ subnet }) => contains(subnet, address))) {
      o.faults.at(at, `${text} is on no subnet of network "${network.name}"`)
    }
    const holder = held.take(addressKey(network, address), who)
    if (holder !== undefined) o.faults.at(at, `${text} is taken by ${holder}`)
  }
}
