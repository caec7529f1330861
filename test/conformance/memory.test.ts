/** Cables in memory, plain and with every offload, pass the device suite. */
import { VirtualClock } from '../../stack/clock.ts'
import { NO_OFFLOAD, type Offload } from '../../stack/device.ts'
import { Cable } from '../../stack/eth/memory.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import {
  type DeviceFixture,
  deviceSuite,
  type FrameFacts,
  packetOf,
  type SentFrame,
} from './device.ts'

function make(mtuBytes: number, offload: Offload): DeviceFixture {
  const pool = new Pool({ smallCount: 64, largeCount: 8, checked: true })
  const clock = new VirtualClock()
  const cable = new Cable({ name: 'c', pool, clock, random: new Random(1), mtuBytes, offload })
  const sent: SentFrame[] = []
  cable.b.output = (packet) => {
    const { head, len, gsoType, gsoSize, csumOffset } = packet
    const csumStart = packet.csumStart === 0 ? 0 : packet.csumStart - head
    const facts = { gsoType, gsoSize, csumStart, csumOffset }
    sent.push({ bytes: pool.mem.slice(head, head + len), facts })
    pool.free(packet)
  }
  return {
    pool,
    device: cable.a,
    inject: (frame: Uint8Array, facts: FrameFacts) => {
      cable.b.transmit(packetOf(pool, { bytes: frame, facts })!)
    },
    sent: () => {
      while (cable.b.poll(64) > 0);
      return sent.splice(0)
    },
    cleanup: () => cable.close(),
  }
}

deviceSuite({ name: 'cable', make: ({ mtuBytes }) => make(mtuBytes, NO_OFFLOAD) })

const ALL: Offload = { csum: true, tso: true, uso: true }
deviceSuite({
  name: 'cable with offloads',
  make: ({ mtuBytes }) => make(mtuBytes, ALL),
  offload: ALL,
})
