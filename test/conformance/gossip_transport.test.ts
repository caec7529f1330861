/** The transports of gossip against their common suite, and what only one of them does. */
import { describe, expect, it } from 'vitest'
import { MemoryNetwork } from '../../services/gossip/memory_transport.ts'
import { openNodeTransport } from '../../services/gossip/node_transport.ts'
import { ipv4, parseAddress } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import { Random } from '../../stack/random.ts'
import { type TransportPair, transportSuite } from './gossip_transport.ts'

const WAIT_MS = 2000
/** For what must not happen, real time is short. */
const QUIET_MS = 200

async function memoryPair(): Promise<TransportPair> {
  const clock = new VirtualClock()
  const faults = { delayMs: 2, jitterMs: 3 }
  const network = new MemoryNetwork({ clock, random: new Random(1), faults })
  return {
    a: network.open(ipv4(1), 7946),
    b: network.open(ipv4(2), 7946),
    nowhere: { address: ipv4(3), port: 7946 },
    until: async (isSo) => {
      const endMs = clock.nowMs + WAIT_MS
      while (!isSo() && clock.step(endMs)) await Promise.resolve()
    },
    quiet: async () => {
      while (clock.step(clock.nowMs + WAIT_MS)) await Promise.resolve()
    },
  }
}

function socketPair(host: string): () => Promise<TransportPair> {
  return async () => {
    const address = parseAddress(host)
    const [a, b, gone] = await Promise.all([1, 2, 3].map(() => openNodeTransport(address, 0)))
    await gone!.close()
    return {
      a: a!,
      b: b!,
      nowhere: { address, port: gone!.port },
      until: async (isSo) => {
        const start = performance.now()
        while (!isSo() && performance.now() - start < WAIT_MS) {
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
      },
      quiet: () => new Promise((resolve) => setTimeout(resolve, QUIET_MS)),
    }
  }
}

transportSuite('memory transport', memoryPair)
transportSuite('socket transport, IPv4', socketPair('127.0.0.1'))
transportSuite('socket transport, IPv6', socketPair('::1'))

describe('socket transport', () => {
  it('says why it cannot listen', async () => {
    const first = await openNodeTransport(parseAddress('127.0.0.1'), 0)
    const second = openNodeTransport(parseAddress('127.0.0.1'), first.port)
    await expect(second).rejects.toThrow(StackError)
    await expect(second).rejects.toThrow(/gossip: .*EADDRINUSE/)
    await expect(openNodeTransport(parseAddress('192.0.2.1'), 0)).rejects.toThrow('EADDRNOTAVAIL')
    await first.close()
  })

  it('ends a stream to nobody with an error', async () => {
    const transport = await openNodeTransport(parseAddress('127.0.0.1'), 0)
    const gone = await openNodeTransport(parseAddress('127.0.0.1'), 0)
    await gone.close()
    const error = await new Promise((resolve) => {
      transport.dial(gone.address, gone.port, { onData: () => {}, onClose: resolve })
    })
    expect(error).toMatchObject({ code: 'syscall' })
    await transport.close()
  })
})
