/** Nothing is allocated for a packet to a reachable neighbor, nor for one that passes the proxy. */
import { expect, it } from 'vitest'
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import { Bindings } from '../../stack/arp/bindings.ts'
import { Neighbors } from '../../stack/arp/neighbors.ts'
import { arpProxy } from '../../stack/arp/proxy.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { type Output, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { A, arpFrame, B, GATEWAY, ipPacket, ndFrame, S } from './lab.ts'

const PACKETS = 200_000
/** One small object a packet would be 16 octets each; other threads of the runner make a little. */
const NOISE_BYTES = PACKETS * 4

/** Heap growth over a run, the least of a few: what else runs only ever adds. */
function growthBytes(run: () => void): number {
  let least = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < 5 && least > NOISE_BYTES; attempt++) {
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < PACKETS; i++) run()
    const growth = process.memoryUsage().heapUsed - before
    // A collection in between says nothing: a small heap that shrinks is another attempt.
    if (growth >= 0) least = Math.min(least, growth)
  }
  return least
}

function fixture(): { pool: Pool; give: (bytes: Uint8Array, to: Output) => void } {
  const pool = new Pool({ smallCount: 8, largeCount: 1 })
  const give = (bytes: Uint8Array, to: Output): void => {
    const packet = pool.alloc(bytes.length)!
    for (let i = 0; i < bytes.length; i++) pool.mem[packet.head + i] = bytes[i]!
    packet.len = bytes.length
    to(packet)
  }
  return { pool, give }
}

it.each(['10.1.0.11', 'fd00:1::11'])('to %s, reachable', (nextHop) => {
  const { pool, give } = fixture()
  const clock = new VirtualClock()
  let sent = 0
  const neighbors = new Neighbors({
    pool,
    clock,
    random: new Random(1),
    unreachable: (_, packet) => pool.free(packet),
  })
  const link = {
    index: 0,
    name: 'front',
    mac: parseMac(GATEWAY),
    addresses: ['10.1.0.1/24', 'fd00:1::1/64'].map(parsePrefix),
    output: (packet: Parameters<Output>[0]): void => {
      sent++
      pool.free(packet)
    },
  }
  neighbors.addLink(link)
  const { family, words } = parseAddress(nextHop)
  const bytes = ipPacket(family, 1)
  const send: Output = (packet) => neighbors.send(link, packet, words, 0)
  give(bytes, send)
  const answer =
    family === 4
      ? arpFrame({ oper: 2, sha: A, spa: nextHop, tha: GATEWAY, tpa: '10.1.0.1', dst: GATEWAY })
      : ndFrame({
          type: 136,
          src: nextHop,
          dst: 'fd00:1::1',
          target: nextHop,
          flags: S,
          mac: A,
          etherDst: GATEWAY,
          etherSrc: A,
        })
  const receive: Output = (packet) =>
    family === 4 ? neighbors.receiveArp(link, packet) : neighbors.receiveNd(link, packet)
  give(answer, receive)
  for (let i = 0; i < 20_000; i++) give(bytes, send)
  sent = 0
  expect(growthBytes(() => give(bytes, send))).toBeLessThan(NOISE_BYTES)
  expect(sent).toBeGreaterThanOrEqual(PACKETS)
  expect(neighbors.list().map(({ state }) => state)).toEqual(['reachable'])
  neighbors.close()
  expect(pool.leaks()).toEqual([])
})

it.each([
  ['data', Uint8Array.from([...arpFrame(question()).slice(0, 12), 0x86, 0xdd, ...ipPacket(6, 6)])],
  ['a question', arpFrame(question())],
  ['a solicitation', ndFrame(solicitation())],
])('through the proxy: %s', (_, bytes) => {
  const { pool, give } = fixture()
  const bindings = new Bindings({ seed: 1 })
  bindings.set(parseAddress('10.1.0.12'), parseMac(B), 2)
  bindings.set(parseAddress('fd00:1::12'), parseMac(B), 2)
  const done: Output = (packet) => pool.free(packet)
  const options = { pool, bindings, name: 'web1/eth0', port: 1, suppress: true }
  const input = arpProxy({ ...options, reply: done, next: done })
  for (let i = 0; i < 20_000; i++) give(bytes, input)
  expect(growthBytes(() => give(bytes, input))).toBeLessThan(NOISE_BYTES)
  expect(pool.leaks()).toEqual([])
})

function question(): Parameters<typeof arpFrame>[0] {
  return { sha: A, spa: '10.1.0.11', tpa: '10.1.0.12' }
}

function solicitation(): Parameters<typeof ndFrame>[0] {
  const to = { dst: 'ff02::1:ff00:12', target: 'fd00:1::12', etherDst: '33:33:ff:00:00:12' }
  return { type: 135, src: 'fd00:1::11', mac: A, etherSrc: A, ...to }
}
