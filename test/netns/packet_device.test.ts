/** Packet sockets on one end of a veth pass the device suite with both engines. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import type { Engine } from '../../stack/engine.ts'
import { packetDevice } from '../../stack/eth/af_packet.ts'
import { mac as macAt } from '../../stack/eth/mac.ts'
import { Netlink } from '../../stack/native/netlink.ts'
import { inScratchNetns } from '../../stack/native/netns.ts'
import { PollEngine } from '../../stack/native/poll_engine.ts'
import { mapSlab } from '../../stack/native/slab.ts'
import { UringEngine } from '../../stack/native/uring_engine.ts'
import { Pool, poolBytes } from '../../stack/packet.ts'
import { type DeviceFixture, deviceSuite } from '../conformance/device.ts'
import { PacketSocket } from './packet_socket.ts'
import { framesOf, vnetOf } from './vnet.ts'

/** The suite's frames go to this station. */
const HEARING = { vid: 0, stations: [{ hi: 0x0200, lo: 0x00000002 }], everything: false }

function make(mtuBytes: number, openEngine: (pool: Pool) => Engine): DeviceFixture {
  const counts = { smallCount: 512, largeCount: 128 }
  const pool = new Pool({ ...counts, memory: mapSlab(poolBytes(counts)), checked: true })
  const engine = openEngine(pool)
  const { device, socket } = inScratchNetns(() => {
    execFileSync('ip', ['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far'])
    const netlink = new Netlink()
    const [near, far] = ['eth0', 'far'].map((name) => {
      writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1')
      const link = netlink.link(name)!
      netlink.setLink(link.index, { mtuBytes, up: true })
      return link
    })
    netlink.close()
    const { index: interfaceIndex, mac } = near!
    const hearing = { interfaceIndex, interfaceMac: macAt(mac, 0), ...HEARING }
    const options = { pool, engine, ...hearing, name: 'uplink', mtuBytes }
    return { device: packetDevice(options).device, socket: new PacketSocket(far!.index) }
  })
  device.start()
  return {
    pool,
    device,
    inject: (frame, facts) => socket.send(frame, vnetOf(frame, facts)),
    sent: () => framesOf(socket),
    cleanup: () => {
      socket.close()
      engine.close()
    },
  }
}

const engines: readonly [string, (pool: Pool) => Engine][] = [
  ['io_uring', (pool) => new UringEngine(pool)],
  ['poll', (pool) => new PollEngine(pool)],
]

for (const [name, openEngine] of engines) {
  deviceSuite({
    name: `af_packet (${name})`,
    make: ({ mtuBytes }) => make(mtuBytes, openEngine),
    refusesRunts: true,
    refusesTags: true,
    patienceMs: 1000,
    offload: { csum: true, tso: true, uso: true },
  })
}
