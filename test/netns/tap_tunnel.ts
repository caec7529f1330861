/** A node of no more than a TAP in a namespace and a tunnel, in the test's own process. */

import { type EngineChoice, Runtime } from '../../services/runtime.ts'
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import type { Device } from '../../stack/device.ts'
import { randomMac } from '../../stack/eth/mac.ts'
import { inNetns } from '../../stack/native/netns.ts'
import type { Underlay } from '../../stack/udp/underlay.ts'
import type { Tunnel } from '../../stack/vxlan/tunnel.ts'
import { Vtep } from '../../stack/vxlan/vtep.ts'

export interface TapTunnelOptions {
  /** Where the TAP goes, as eth0; made when missing. */
  readonly netns: string
  readonly addresses: readonly string[]
  readonly mtuBytes: number
  readonly underlayNetns: string
  readonly underlay: string
  readonly peer: string
  readonly vni: number
  /** Multicast group of the underlay for what goes to all. */
  readonly group?: string
  readonly engine?: EngineChoice
}

export class TapTunnel {
  readonly runtime: Runtime
  readonly underlay: Underlay
  readonly tunnel: Tunnel
  readonly device: Device
  /** What the underlay told. */
  readonly problems: string[]

  private constructor(
    runtime: Runtime,
    ends: { underlay: Underlay; tunnel: Tunnel; device: Device; problems: string[] },
  ) {
    this.runtime = runtime
    this.underlay = ends.underlay
    this.tunnel = ends.tunnel
    this.device = ends.device
    this.problems = ends.problems
    this.device.output = (packet) => this.tunnel.transmit(packet)
    this.tunnel.output = (packet) => this.device.transmit(packet)
  }

  static async open(options: TapTunnelOptions): Promise<TapTunnel> {
    const { netns, underlayNetns, mtuBytes, vni, engine = 'auto' } = options
    const runtime = new Runtime({ engine })
    const { pool, clock, links, random } = runtime
    const problems: string[] = []
    const tell = (_: object, text: string): void => void problems.push(text)
    const underlay = inNetns(underlayNetns, () =>
      links.openUnderlay({
        address: parseAddress(options.underlay),
        udpPort: 4789,
        interfaceName: undefined,
        mtuBytes: 1500,
        log: { info: tell, warn: tell, error: tell },
      }),
    )
    const vtep = new Vtep({ pool, underlay, hello: { clock, random } })
    const tunnel = vtep.open({ name: 'test', clock, seed: 5, vni })
    tunnel.addMember(parseAddress(options.peer))
    const { group } = options
    if (group) inNetns(underlayNetns, () => tunnel.setGroup(parseAddress(group)))
    links.prepare({ name: netns, netns })
    const device = await links.attach({
      sandbox: netns,
      netns,
      interfaceName: 'eth0',
      deviceName: 'eth0',
      mac: randomMac(random),
      mtuBytes,
      addresses: options.addresses.map(parsePrefix),
      routes: [],
      offload: true,
    })
    return new TapTunnel(runtime, { underlay, tunnel, device, problems })
  }

  close(): void {
    this.tunnel.close()
    this.underlay.close()
    this.runtime.close()
  }
}
