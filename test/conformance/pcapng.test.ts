/** A device made of capture files passes the device suite. */
import { VirtualClock } from '../../stack/clock.ts'
import { PcapngWriter } from '../../stack/eth/pcapng.ts'
import { PcapngDevice } from '../../stack/eth/pcapng_device.ts'
import { PcapngReader } from '../../stack/eth/pcapng_reader.ts'
import { Pool } from '../../stack/packet.ts'
import { deviceSuite, type SentFrame } from './device.ts'

deviceSuite({
  name: 'pcapng',
  make: ({ mtuBytes }) => {
    const pool = new Pool({ smallCount: 64, largeCount: 8, checked: true })
    const clock = new VirtualClock()
    const source = new PcapngReader()
    const written = new PcapngReader()
    const recorder = new PcapngWriter({ write: (bytes) => source.push(bytes) })
    const eth0 = recorder.addInterface('eth0')
    const sink = new PcapngWriter({ write: (bytes) => written.push(bytes) })
    return {
      pool,
      device: new PcapngDevice({ name: 'replay', pool, clock, mtuBytes, source, sink }),
      inject: (frame) => recorder.packet(eth0, frame, 0, frame.length, 0, 'in'),
      sent: () => {
        const frames: SentFrame[] = []
        for (let f = written.next(); f !== undefined; f = written.next()) {
          frames.push({ bytes: f.bytes, facts: undefined })
        }
        return frames
      },
      cleanup: () => {},
    }
  },
})
