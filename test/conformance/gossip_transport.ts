/** What every gossip transport does: one suite for sockets and for memory. */
import { describe, expect, it } from 'vitest'
import type { GossipStream, Transport } from '../../services/gossip/transport.ts'
import { type Address, formatAddress } from '../../stack/address.ts'
import type { StackError } from '../../stack/errors.ts'

export interface TransportPair {
  readonly a: Transport
  readonly b: Transport
  /** An address and port where nobody is. */
  readonly nowhere: { readonly address: Address; readonly port: number }
  /** Let things happen until it is so, or for some seconds. */
  until(isSo: () => boolean): Promise<void>
  /** Let things happen that should not. */
  quiet(): Promise<void>
}

interface Datagram {
  readonly text: string
  readonly from: string
}

interface Ended {
  received: string
  closed: number
  error: StackError | undefined
}

export function transportSuite(name: string, open: () => Promise<TransportPair>): void {
  describe(name, () => {
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()
    const ended = (): Ended => ({ received: '', closed: 0, error: undefined })
    const into = (end: Ended) => ({
      onData: (bytes: Uint8Array) => {
        end.received += text(bytes)
      },
      onClose: (error?: StackError) => {
        end.closed++
        end.error = error
      },
    })

    async function started(): Promise<TransportPair & { datagrams: Datagram[]; served: Ended[] }> {
      const pair = await open()
      const datagrams: Datagram[] = []
      const served: Ended[] = []
      pair.a.start({ onDatagram: () => {}, onStream: () => into(ended()) })
      pair.b.start({
        onDatagram: (bytes, address, port) => {
          datagrams.push({ text: text(bytes), from: `${formatAddress(address)} ${port}` })
        },
        // Says back what was said, in capitals, and ends.
        onStream: (stream: GossipStream) => {
          const end = ended()
          served.push(end)
          const { onData, onClose } = into(end)
          return {
            onClose,
            onData: (bytes) => {
              onData(bytes)
              stream.write(Buffer.from(text(bytes).toUpperCase()))
              if (end.received.endsWith('.')) stream.end()
            },
          }
        },
      })
      return { ...pair, datagrams, served }
    }

    it('carries datagrams, with where they come from', async () => {
      const { a, b, until, datagrams } = await started()
      a.sendDatagram(b.address, b.port, Buffer.from('hello'))
      a.sendDatagram(b.address, b.port, new Uint8Array(1400).fill(0x78))
      await until(() => datagrams.length === 2)
      const from = `${formatAddress(a.address)} ${a.port}`
      expect(datagrams).toContainEqual({ text: 'hello', from })
      expect(datagrams).toContainEqual({ text: 'x'.repeat(1400), from })
      await Promise.all([a.close(), b.close()])
    })

    it('loses datagrams to nobody without a word', async () => {
      const { a, b, nowhere, until, datagrams } = await started()
      a.sendDatagram(nowhere.address, nowhere.port, Buffer.from('lost'))
      a.sendDatagram(b.address, b.port, Buffer.from('hello'))
      await until(() => datagrams.length === 1)
      expect(datagrams.map((d) => d.text)).toEqual(['hello'])
      await Promise.all([a.close(), b.close()])
    })

    it('carries streams both ways, also what was written before they were open', async () => {
      const { a, b, until, served } = await started()
      const end = ended()
      const stream = a.dial(b.address, b.port, into(end))
      stream.write(Buffer.from('hello'))
      stream.write(Buffer.from(' there.'))
      await until(() => end.closed > 0)
      expect(end).toEqual({ received: 'HELLO THERE.', closed: 1, error: undefined })
      await until(() => served[0]?.closed === 1)
      expect(served).toEqual([{ received: 'hello there.', closed: 1, error: undefined }])
      await Promise.all([a.close(), b.close()])
    })

    it('delivers what was written before an end, also a megabyte', async () => {
      const { a, b, until, served } = await started()
      const end = ended()
      const stream = a.dial(b.address, b.port, into(end))
      const large = 'y'.repeat(1_000_000)
      stream.write(Buffer.from(large))
      stream.end()
      await until(() => end.closed > 0 && served[0]?.closed === 1)
      expect(served[0]?.received).toBe(large)
      await Promise.all([a.close(), b.close()])
    })

    it('ends a stream that is destroyed, on both sides, once', async () => {
      const { a, b, until, served } = await started()
      const end = ended()
      const stream = a.dial(b.address, b.port, into(end))
      stream.write(Buffer.from('hello'))
      await until(() => end.received === 'HELLO')
      stream.destroy()
      stream.destroy()
      await until(() => end.closed > 0 && served[0]?.closed === 1)
      expect([end.closed, served[0]?.closed]).toEqual([1, 1])
      await Promise.all([a.close(), b.close()])
    })

    it('calls nobody once it is closed', async () => {
      const { a, b, until, quiet, datagrams } = await started()
      const end = ended()
      a.dial(b.address, b.port, into(end)).write(Buffer.from('hello'))
      await until(() => end.received === 'HELLO')
      await Promise.all([b.close(), b.close()])
      a.sendDatagram(b.address, b.port, Buffer.from('late'))
      const late = ended()
      a.dial(b.address, b.port, into(late))
      await a.close()
      await quiet()
      expect(datagrams).toEqual([])
      expect(late.received).toBe('')
    })
  })
}
