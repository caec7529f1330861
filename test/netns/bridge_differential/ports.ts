/** The two bridges under comparison: the same ports and static entries in both vocabularies. */
import type { BridgePortOptions } from '../../../stack/eth/bridge_port.ts'
import { parseMac } from '../../../stack/eth/mac.ts'
import { BridgeLab, station } from '../../eth/bridge_lab.ts'
import type { KernelPort, KernelStation } from './kernel.ts'

type Ours = Pick<BridgePortOptions, 'isolated' | 'vlan'>

export const PLAIN: readonly Ours[] = [{}, {}, {}, { isolated: true }, { isolated: true }]

export const FILTERING: readonly Ours[] = [
  { vlan: { pvid: 10 } },
  { vlan: { pvid: 10 } },
  { vlan: { pvid: 20 } },
  { vlan: { tagged: [10, 20, 30] } },
  { vlan: { pvid: 1, tagged: [10, 20] }, isolated: true },
  { vlan: { pvid: 10, tagged: [10, 4094] }, isolated: true },
]

export const STATICS: readonly KernelStation[] = [
  { mac: station(0x51), port: 'p0', vid: 10 },
  { mac: station(0x52), port: 'p3', vid: 20 },
  { mac: '02:00:ff:ff:ff:ff', port: 'p4', vid: 10 },
]

/** Port number `index` is called `pN`. */
export function kernelPorts(ports: readonly Ours[]): KernelPort[] {
  return ports.map(({ isolated = false, vlan: { pvid, tagged = [] } = {} }, index) => {
    const vlans = tagged.map((vid) => `vid ${vid}${vid === pvid ? ' pvid' : ''}`)
    if (pvid !== undefined && !tagged.includes(pvid)) vlans.push(`vid ${pvid} pvid untagged`)
    return { name: `p${index}`, mac: `0e:00:00:00:00:0${index}`, isolated, vlans }
  })
}

/** Our bridge; the kernel has no loop guard, so ours is off. */
export function ourBridge(ports: readonly Ours[], vlanFiltering: boolean): BridgeLab {
  const lab = new BridgeLab({ vlanFiltering, loopGuard: { movesMax: Number.POSITIVE_INFINITY } })
  for (const [index, options] of ports.entries()) lab.add(`p${index}`, options)
  for (const { mac, port, vid } of STATICS) {
    lab.bridge.addStatic(parseMac(mac), lab.ports.get(port)!, vlanFiltering ? vid : 0)
  }
  return lab
}
