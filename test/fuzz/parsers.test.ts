/**
 * Everything that reads what others wrote, under random and damaged input: it may refuse, by the
 * way it says it does, and it may not throw anything else, loop, or read past the end.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatFault, parseConfig } from '../../services/config/parse.ts'
import { readHeading, readProblem } from '../../services/fabric/wire.ts'
import { formatAddress, parseAddress, parsePrefix } from '../../stack/address.ts'
import * as arp from '../../stack/arp/message.ts'
import * as nd from '../../stack/arp/nd.ts'
import { StackError } from '../../stack/errors.ts'
import { formatMac, parseMac } from '../../stack/eth/mac.ts'
import * as extension from '../../stack/ip/extension.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import { judgeOptions } from '../../stack/ip/options.ts'
import { ipOffset, superHeaderBytes } from '../../stack/ip/segment.ts'
import * as tcp from '../../stack/ip/tcp.ts'
import * as udp from '../../stack/ip/udp.ts'
import { HEADROOM_BYTES, Packet, SMALL_SLOT_BYTES } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { readFacts, VNET_BYTES } from '../../stack/vnet.ts'
import { corpus, type Parties } from './corpus.ts'
import { mutate } from './mutate.ts'

const PARTIES: Parties = {
  mac: '02:00:00:00:00:01',
  ip4: '10.1.0.11',
  ip6: 'fd00:1::11',
  peerMac: '02:00:00:00:00:02',
  peerIp4: '10.1.0.12',
  peerIp6: 'fd00:1::12',
  gatewayMac: '02:00:00:00:00:03',
  gatewayIp4: '10.1.0.1',
  gatewayIp6: 'fd00:1::1',
  farIp4: '10.2.0.22',
  farIp6: 'fd00:2::22',
}

/** Refuses by StackError, or returns something that reads back as itself. */
function refusesOr<T>(parse: (text: string) => T, format?: (value: T) => string) {
  return (text: string): void => {
    let value: T
    try {
      value = parse(text)
    } catch (error) {
      expect(error).toBeInstanceOf(StackError)
      return
    }
    if (format !== undefined) expect(format(parse(format(value)))).toBe(format(value))
  }
}

const near = (samples: string[]) =>
  fc
    .tuple(fc.constantFrom(...samples), fc.nat(40), fc.string({ maxLength: 3 }))
    .map(([text, at, put]) => text.slice(0, at) + put + text.slice(at + 1))

describe('text', () => {
  it('addresses, prefixes and MACs', () => {
    const samples = ['10.1.0.11', 'fd00:1::11', '::ffff:10.0.0.1', '10.1.0.0/24', 'fd00::/64']
    const texts = fc.oneof(near(samples), fc.string(), fc.ipV4(), fc.ipV6())
    fc.assert(fc.property(texts, refusesOr(parseAddress, formatAddress)), { numRuns: 2000 })
    fc.assert(fc.property(texts, refusesOr(parsePrefix)), { numRuns: 2000 })
    const macs = fc.oneof(near(['02:00:00:00:00:0b', '02-00-00-00-00-0B']), fc.string())
    fc.assert(fc.property(macs, refusesOr(parseMac, formatMac)), { numRuns: 2000 })
  })

  it('configuration files', () => {
    const file = `name: shop
networks:
  front: &n { enable_ipv6: true, ipam: { config: [ { subnet: 10.1.0.0/24, gateway: 10.1.0.1 } ] } }
  back: { <<: *n, internal: true, driver_opts: { com.docker.network.driver.mtu: "1400" } }
sandboxes:
  web:
    netns: web
    networks: { front: { ipv4_address: 10.1.0.11, mac_address: "02:00:00:00:00:11" } }
  db: { networks: [back] }
routes: [ { to: 10.9.0.0/16, via: 10.1.0.11 } ]
`
    const change = fc.tuple(
      fc.nat(file.length),
      fc.nat(6),
      fc.oneof(
        fc.string({ maxLength: 4 }),
        fc.constantFrom('\n', '{', '}', '[', '- ', '&a ', '*a', '"', ': ', '!!int ', 'null', '\t'),
      ),
    )
    const changes = fc.array(change, { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(changes, (list) => {
        let text = file
        for (const [at, cut, put] of list) text = text.slice(0, at) + put + text.slice(at + cut)
        const { config, faults } = parseConfig(text, 'f.yaml')
        expect(config === undefined).toBe(faults.length > 0)
        for (const fault of faults) expect(formatFault(fault)).toMatch(/^f\.yaml:\d+:\d+: ./s)
      }),
      { numRuns: 500 },
    )
    fc.assert(fc.property(fc.string(), (text) => void parseConfig(text, 'f.yaml')))
  })
})

/** What the header modules make of the octets from 0 to `end`. */
function understand(mem: Uint8Array, end: number): unknown {
  const seen: unknown[] = []
  if (arp.isMessage(mem, 0, end)) seen.push(arp.isSender(mem, 0), arp.targetIp(mem, 0))
  if (nd.isMessage(mem, 0, end, true)) seen.push(nd.linkAddress(mem, 0, 1))
  if (tcp.isHeader(mem, 0, end)) seen.push(tcp.headerBytes(mem, 0), tcp.flags(mem, 0))
  if (udp.isHeader(mem, 0, end)) seen.push(udp.dstPort(mem, 0))
  if (ipv4.isHeader(mem, 0, end)) {
    expect(ipv4.headerBytes(mem, 0)).toBeLessThanOrEqual(ipv4.totalBytes(mem, 0))
    seen.push(ipv4.isIntact(mem, 0), judgeOptions(mem, 0), ipv4.fragmentOffset(mem, 0))
  }
  if (ipv6.isHeader(mem, 0, end)) {
    const step = extension.walk(mem, 0, end)
    if (step >= 0) {
      expect(step >>> 8).toBeLessThanOrEqual(end)
      seen.push(step, extension.judge(mem, 0, end))
    }
  }
  for (const quoted of [false, true]) {
    const heading = readHeading(mem, 0, end, quoted)
    if (heading === undefined) continue
    expect(heading.bytes).toBeGreaterThanOrEqual(0)
    expect(heading.at + heading.bytes).toBeLessThanOrEqual(end)
    seen.push(heading)
    if (heading.bytes >= 8) seen.push(readProblem(mem, heading.at, heading.to.family === 4))
  }
  return seen
}

describe('headers', () => {
  it('accept nothing that their accessors would read past', () => {
    const random = new Random(5)
    const frames = corpus(PARTIES)
    let understood = 0
    for (let n = 0; n < 10_000; n++) {
      const [a, b] = [frames[random.below(frames.length)]!, frames[random.below(frames.length)]!]
      const bytes = mutate(random, a, b).bytes.subarray(14, 14 + random.below(300))
      // What lies behind must make no difference.
      const zeros = new Uint8Array(bytes.length + 128)
      const ones = new Uint8Array(bytes.length + 128).fill(0xff)
      zeros.set(bytes)
      ones.set(bytes)
      const seen = understand(zeros, bytes.length)
      expect(understand(ones, bytes.length)).toEqual(seen)
      if (Array.isArray(seen) && seen.length > 0) understood++
    }
    expect(understood).toBeGreaterThan(1000)
  })

  it('believe no offload facts that lie outside the frame', () => {
    const mem = new Uint8Array(SMALL_SLOT_BYTES)
    const random = new Random(6)
    const frames = corpus(PARTIES).filter(({ bytes }) => bytes.length < 1800)
    for (let n = 0; n < 20_000; n++) {
      const frame = mutate(random, frames[random.below(frames.length)]!, frames[0]!)
      const bytes = frame.bytes.subarray(0, 1900)
      const packet = new Packet(0, SMALL_SLOT_BYTES, 0)
      packet.head = HEADROOM_BYTES
      packet.len = bytes.length
      mem.set(bytes, packet.head)
      const at = packet.head - VNET_BYTES
      for (let i = 0; i < VNET_BYTES; i++) mem[at + i] = random.bits()
      if (random.chance(70))
        mem.set([1, [0, 1, 4, 5][random.below(4)]!, 0, 0, random.bits(), 0, 34, 0, 16, 0], at)
      if (!readFacts(mem, at, packet) || packet.len < 14) continue
      const end = packet.head + packet.len
      if (packet.csumStart !== 0)
        expect(packet.csumStart + packet.csumOffset + 2).toBeLessThanOrEqual(end)
      if (packet.gsoType === 0) continue
      const headerBytes = superHeaderBytes(mem, packet, ipOffset(mem, packet))
      expect(headerBytes).toBeLessThanOrEqual(packet.len)
    }
  })
})
