import { describe, expect, it } from 'vitest'
import { GsoType, Pool } from '../../stack/packet.ts'
import { putFacts, readFacts, VNET_BYTES } from '../../stack/vnet.ts'

describe('virtio-net header', () => {
  it('carries the facts of a TCP super-frame there and back', () => {
    const pool = new Pool({ smallCount: 0, largeCount: 2 })
    const packet = pool.alloc(10_000)!
    packet.len = 10_000
    packet.gsoType = GsoType.TcpV4
    packet.gsoSize = 1448
    packet.csumStart = packet.head + 34
    packet.csumOffset = 16
    pool.mem[packet.csumStart + 12] = 0x80
    const at = packet.head - VNET_BYTES
    putFacts(pool.mem, at, packet)
    // flags 1, TCPv4, 34 + 32 octets of headers, 1448, 34, 16; all little-endian.
    expect([...pool.mem.slice(at, at + 10)]).toEqual([1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0])
    const twin = pool.alloc(10_000)!
    twin.len = 10_000
    expect(readFacts(pool.mem, at, twin)).toBe(true)
    expect([twin.gsoType, twin.gsoSize, twin.csumStart - twin.head, twin.csumOffset]).toEqual([
      1, 1448, 34, 16,
    ])
  })

  it('is zero for a plain frame, and does not trust what contradicts the frame', () => {
    const pool = new Pool({ smallCount: 1, largeCount: 0 })
    const packet = pool.alloc(60)!
    packet.len = 60
    const at = packet.head - VNET_BYTES
    pool.mem.fill(0xa5, at, packet.head)
    putFacts(pool.mem, at, packet)
    expect([...pool.mem.slice(at, at + 10)]).toEqual(Array(10).fill(0))
    expect(readFacts(pool.mem, at, packet)).toBe(true)
    pool.mem.set([1, 0, 0, 0, 0, 0, 50, 0, 16, 0], at)
    expect(readFacts(pool.mem, at, packet)).toBe(false)
    packet.csumStart = 0
    pool.mem.set([0, 1, 0, 0, 100, 0, 0, 0, 0, 0], at)
    expect(readFacts(pool.mem, at, packet)).toBe(false)
    pool.mem.set([1, 1, 0, 0, 0, 0, 34, 0, 16, 0], at)
    expect(readFacts(pool.mem, at, packet)).toBe(false)
  })
})
