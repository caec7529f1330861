/** A whole node in memory for fuzzers: three networks of different kinds, and frames thrown in. */

import { parseConfig } from '../../services/config/parse.ts'
import { Controller } from '../../services/controller.ts'
import { VirtualDriver } from '../../services/fabric/driver.ts'
import { MemoryLinks } from '../../services/fabric/memory_links.ts'
import { QUIET } from '../../services/log.ts'
import type { CableEnd } from '../../stack/eth/memory.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { packetOf } from '../conformance/device.ts'
import type { Frame, Parties } from './corpus.ts'

const CONFIG = `
name: fuzz
networks:
  front:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }
  back:
    enable_ipv6: true
    driver_opts:
      com.docker.network.driver.mtu: "1400"
      tapline.arp_proxy: "false"
      tapline.mac_guard: "false"
    ipam: { config: [ { subnet: 10.2.0.0/24 }, { subnet: "fd00:2::/64" } ] }
  trunk:
    driver_opts: { tapline.vlan_filtering: "true", tapline.offload: "false" }
    ipam: { config: [ { subnet: 10.3.0.0/24 } ] }
  secret:
    internal: true
    ipam: { config: [ { subnet: 10.4.0.0/24 } ] }
sandboxes:
  web: { networks: { front: { ipv4_address: 10.1.0.11, ipv6_address: "fd00:1::11" } } }
  app: { networks: { front: { ipv4_address: 10.1.0.12, ipv6_address: "fd00:1::12" } } }
  db: { networks: { back: { ipv4_address: 10.2.0.22, ipv6_address: "fd00:2::22" } } }
  old: { networks: { back: { ipv4_address: 10.2.0.23, ipv6_address: "fd00:2::23" } } }
  t1: { networks: { trunk: { driver_opts: { tapline.vlan_tagged: "5,6", tapline.vlan_pvid: 1 } } } }
  t2: { networks: { trunk: { driver_opts: { tapline.vlan_tagged: "5", tapline.vlan_pvid: 1 } } } }
  vault: { networks: [secret] }
routes:
  - { to: 10.50.0.0/16, via: 10.2.0.22 }
  - { to: 10.51.0.0/16, blackhole: true }
`

export class FuzzNode {
  readonly pool: Pool
  readonly driver: VirtualDriver = new VirtualDriver()
  readonly links: MemoryLinks
  readonly controller: Controller

  constructor(seed: number) {
    this.pool = new Pool({ smallCount: 512, largeCount: 48, checked: true })
    const { pool, driver } = this
    const { clock } = driver
    this.links = new MemoryLinks({ pool, driver, random: new Random(seed) })
    this.controller = new Controller({
      pool,
      clock,
      random: new Random(seed + 1),
      links: this.links,
      log: QUIET,
      onDevice: (device, added) => (added ? driver.add(device) : driver.remove(device)),
    })
  }

  async up(): Promise<void> {
    const { config, faults } = parseConfig(CONFIG, 'fuzz.yaml')
    if (config === undefined) throw new Error(faults.map(({ message }) => message).join('\n'))
    await this.controller.apply(config)
    this.run(10)
  }

  /** The sandbox's end of a cable: what is transmitted here, the node receives. */
  end(device: string): CableEnd {
    return this.links.cable(device).b
  }

  /** One of `front`, towards another there, its gateway, and `back`. */
  parties(): Parties {
    const { networks, sandboxes } = this.controller.inspect()
    const macOf = (name: string) => sandboxes.find((s) => s.name === name)!.endpoints[0]!.mac!
    return {
      mac: macOf('web'),
      ip4: '10.1.0.11',
      ip6: 'fd00:1::11',
      peerMac: macOf('app'),
      peerIp4: '10.1.0.12',
      peerIp6: 'fd00:1::12',
      gatewayMac: networks.find(({ name }) => name === 'front')!.gatewayMac!,
      gatewayIp4: '10.1.0.1',
      gatewayIp6: 'fd00:1::1',
      farIp4: '10.2.0.22',
      farIp6: 'fd00:2::22',
    }
  }

  inject(end: CableEnd, frame: Frame): void {
    const packet = packetOf(this.pool, frame)
    if (packet !== undefined) end.transmit(packet)
  }

  /** Let so much time pass, everything that is due included. */
  run(ms: number): void {
    this.driver.pass(ms)
  }

  /** Take it down; returns what was not given back. */
  async down(): Promise<string[]> {
    await this.controller.close()
    this.links.close()
    this.driver.close()
    const timers = this.driver.pending
    return [...this.pool.leaks(), ...(timers === 0 ? [] : [`${timers} timers`])]
  }
}
