/** Who listens on the host, as the kernel's tables say it. */
import { createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import { allListeners, inUse, listeners, taker } from '../../../services/host/busy.ts'
import type { HostPort } from '../../../services/links.ts'
import { formatAddress, parseAddress } from '../../../stack/address.ts'

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n'
const REST = '00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n'
/** From a running kernel. */
const TCP = `${HEAD}\
   0: 0100007F:1F90 00000000:0000 0A ${REST}\
   1: 0B00010A:0016 3200000A:C350 01 ${REST}`
const TCP6 = `${HEAD}\
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A ${REST}\
   1: B80D0120000001000000000001000000:0051 00000000000000000000000000000000:0000 0A ${REST}\
   2: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A ${REST}`
const UDP = `${HEAD}\
  10: 3500007F:0035 00000000:0000 07 ${REST}\
  11: 0100A8C0:0044 FE00A8C0:0043 01 ${REST}`

function text(table: string, protocol: 6 | 17): string[] {
  return listeners(table, protocol).map(({ address, port }) => `${formatAddress(address)} ${port}`)
}

function wanted(address: string | undefined, port: number, count = 1, family: 4 | 6 = 4): HostPort {
  return { protocol: 6, family, address: address && parseAddress(address), port, count } as HostPort
}

describe('listeners', () => {
  it('are TCP sockets that listen, and UDP sockets that are connected to nobody', () => {
    expect(text(TCP, 6)).toEqual(['127.0.0.1 8080'])
    expect(text(TCP6, 6)).toEqual([':: 80', '2001:db8:1::1 81', '127.0.0.1 82'])
    expect(text(UDP, 17)).toEqual(['127.0.0.53 53'])
    expect(text('', 6)).toEqual([])
  })

  it('have their own ports, on their own addresses', () => {
    const all = [...listeners(TCP, 6), ...listeners(TCP6, 6)]
    const whose = (port: HostPort): number | undefined => taker(port, all)?.port
    expect(whose(wanted(undefined, 8080))).toBe(8080)
    expect(whose(wanted('127.0.0.1', 8080))).toBe(8080)
    expect(whose(wanted('192.0.2.1', 8080))).toBeUndefined()
    expect(whose(wanted(undefined, 8080, 1, 6))).toBeUndefined()
    expect(whose(wanted(undefined, 8070, 10))).toBeUndefined()
    expect(whose(wanted(undefined, 8070, 11))).toBe(8080)
    expect(whose(wanted(undefined, 8081))).toBeUndefined()
    // One of :: may take IPv4 too, one of another IPv6 address may not.
    expect(whose(wanted('192.0.2.1', 80))).toBe(80)
    expect(whose(wanted(undefined, 80, 1, 6))).toBe(80)
    expect(whose(wanted(undefined, 81))).toBeUndefined()
    expect(whose(wanted(undefined, 81, 1, 6))).toBe(81)
  })

  it('are found on this host', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const message = `port ${port}/tcp is in use on this host: a program has 127.0.0.1:${port}`
    expect(inUse([wanted(undefined, port)], allListeners())).toBe(message)
    expect(inUse([{ ...wanted(undefined, port), protocol: 132 }], allListeners())).toBeUndefined()
    await new Promise((resolve) => server.close(resolve))
    expect(inUse([wanted(undefined, port)], allListeners())).toBeUndefined()
  })
})
