/** TAPs pass the device suite with both engines, with and without offloads. */
import { writeFileSync } from 'node:fs'
import { NO_OFFLOAD, type Offload } from '../../stack/device.ts'
import type { Engine } from '../../stack/engine.ts'
import { tapDevice } from '../../stack/eth/tap.ts'
import { Netlink } from '../../stack/native/netlink.ts'
import { inScratchNetns } from '../../stack/native/netns.ts'
import { PollEngine } from '../../stack/native/poll_engine.ts'
import { probeOffload } from '../../stack/native/probe.ts'
import { mapSlab } from '../../stack/native/slab.ts'
import { UringEngine } from '../../stack/native/uring_engine.ts'
import { Pool, poolBytes } from '../../stack/packet.ts'
import { type DeviceFixture, deviceSuite } from '../conformance/device.ts'
import { PacketSocket } from './packet_socket.ts'
import { framesOf, vnetOf } from './vnet.ts'

interface Variant {
  readonly mtuBytes: number
  readonly offload: boolean
  readonly openEngine: (pool: Pool) => Engine
}

function make({ mtuBytes, offload, openEngine }: Variant): DeviceFixture {
  const counts = { smallCount: 512, largeCount: 128 }
  const pool = new Pool({ ...counts, memory: mapSlab(poolBytes(counts)), checked: true })
  const engine = openEngine(pool)
  const { tap, socket } = inScratchNetns(() => {
    const options = { pool, engine, interfaceName: 'eth0', name: 'tap', mtuBytes, offload }
    const opened = tapDevice(options)
    writeFileSync('/proc/sys/net/ipv6/conf/eth0/disable_ipv6', '1')
    const netlink = new Netlink()
    const { index } = netlink.link('eth0')!
    netlink.setLink(index, { mtuBytes, txQueueLen: 1000, up: true })
    netlink.close()
    return { tap: opened, socket: new PacketSocket(index) }
  })
  tap.start()
  return {
    pool,
    device: tap,
    inject: (frame, facts) => socket.send(frame, vnetOf(frame, facts)),
    sent: () => framesOf(socket),
    cleanup: () => {
      socket.close()
      engine.close()
    },
  }
}

const full = probeOffload()
const engines: readonly [string, (pool: Pool) => Engine][] = [
  ['io_uring', (pool) => new UringEngine(pool)],
  ['poll', (pool) => new PollEngine(pool)],
]

for (const [name, openEngine] of engines) {
  for (const offload of [full, NO_OFFLOAD]) {
    deviceSuite({
      name: `tap (${name}, ${offload.tso ? 'with' : 'without'} offloads)`,
      make: ({ mtuBytes }) => make({ mtuBytes, offload: offload.tso, openEngine }),
      refusesRunts: true,
      patienceMs: 1000,
      ...(offload.tso ? { offload: offload satisfies Offload } : {}),
    })
  }
}
