import { describe, expect, it } from 'vitest'
import { formatAddress, parseAddress } from '../../stack/address.ts'
import { sum } from '../../stack/checksum.ts'
import { icmp6, ip4, ip6, ipOf, tcp, udp } from './lab.ts'
import { describeIp, end, mappingOf, NatLab, PLAN4, PLAN6, type Plan, Turns } from './nat_lab.ts'

const SYN = 2
const SYN_ACK = 0x12
const ACK = 0x10
const RST_ACK = 0x14
const FIN_ACK = 0x11
const DATA = Uint8Array.of(1, 2, 3)

function datagram(from: string, fromPort: number, to: string, toPort: number): Uint8Array {
  return udp({ from, to }, { from: fromPort, to: toPort }, DATA)
}

interface Segment {
  readonly seq?: number
  readonly ack?: number
}

function segment(
  [from, fromPort]: readonly [string, number],
  [to, toPort]: readonly [string, number],
  flags: number,
  { seq = 0, ack = 0 }: Segment = {},
): Uint8Array {
  return tcp({ from, to }, { from: fromPort, to: toPort, flags, seq, ack }, new Uint8Array(0))
}

function icmp(from: string, to: string, head: readonly number[], data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + data.length)
  bytes.set(head)
  bytes.set(data, 8)
  if (from.includes(':')) return icmp6({ from, to }, bytes)
  new DataView(bytes.buffer).setUint16(2, ~sum(bytes, 0, bytes.length) & 0xffff)
  return ip4({ from, to, protocol: 1 }, bytes)
}

/** An unreachable port, as the family says it. */
function unreachable(from: string, to: string, quote: Uint8Array): Uint8Array {
  return icmp(from, to, from.includes(':') ? [1, 4] : [3, 3], quote)
}

function echo(from: string, to: string, id: number, reply = false): Uint8Array {
  const type = from.includes(':') ? (reply ? 129 : 128) : reply ? 0 : 8
  return icmp(from, to, [type, 0, 0, 0, id >>> 8, id & 0xff, 0, 1], DATA)
}

it('does with each family what it is told of that family', () => {
  const lab = new NatLab()
  const way = { masquerade4: 'none', masquerade6: 'interface' } as const
  lab.nat.setNetwork(lab.front, { ...way, inbound4: 'open', inbound6: 'published' })
  const out = ({ client, outside }: Plan) => lab.line(lab.front, datagram(client, 1, outside, 2))
  expect(out(PLAN4)).toBe(`up ${end(PLAN4.client, 1)} > ${end(PLAN4.outside, 2)} udp`)
  expect(out(PLAN6)).toBe(`up ${end(PLAN6.uplink, 1)} > ${end(PLAN6.outside, 2)} udp`)
  const back = ({ client, outside2 }: Plan) => lab.lines(lab.up, datagram(outside2, 3, client, 4))
  expect(back(PLAN4)).toEqual([`front ${end(PLAN4.outside2, 3)} > ${end(PLAN4.client, 4)} udp`])
  expect(back(PLAN6)).toEqual([])
  lab.end()
})

describe.each([
  ['IPv4', PLAN4],
  ['IPv6', PLAN6],
])('masquerading, %s', (_, plan: Plan) => {
  const { client, sibling, server, uplink, outside, outside2, family } = plan
  const name = family === 4 ? 'icmp' : 'icmp6'

  it('gives the address of the uplink, keeps the port, and takes the answer back', () => {
    const lab = new NatLab()
    expect(lab.line(lab.front, datagram(client, 5000, outside, 53))).toBe(
      `up ${end(uplink, 5000)} > ${end(outside, 53)} udp`,
    )
    expect(lab.line(lab.up, datagram(outside, 53, uplink, 5000))).toBe(
      `front ${end(outside, 53)} > ${end(client, 5000)} udp`,
    )
    expect(lab.conntrack.count).toBe(1)
    lab.end()
  })

  it('gives another port of the same parity where the own one is taken', () => {
    const lab = new NatLab()
    lab.lines(lab.front, datagram(client, 5000, outside, 53))
    const line = lab.line(lab.front, datagram(sibling, 5000, outside2, 53))
    const port = Number(/:(\d+) >/.exec(line)![1])
    expect(port).not.toBe(5000)
    expect(port % 2).toBe(0)
    expect(port).toBeGreaterThanOrEqual(1024)
    expect(lab.line(lab.up, datagram(outside2, 53, uplink, port))).toBe(
      `front ${end(outside2, 53)} > ${end(sibling, 5000)} udp`,
    )
    // The same internal port has the same external one towards everybody.
    expect(lab.line(lab.front, datagram(sibling, 5000, outside, 99))).toBe(
      `up ${end(uplink, port)} > ${end(outside, 99)} udp`,
    )
    expect(lab.nat.mappings).toBe(2)
    lab.end()
  })

  it('translates TCP, and drops what is of no connection', () => {
    const lab = new NatLab()
    const a = [client, 5000] as const
    const b = [outside, 80] as const
    const e = [uplink, 5000] as const
    expect(lab.line(lab.front, segment(a, b, SYN))).toBe(`up ${end(...e)} > ${end(...b)} tcp`)
    expect(lab.line(lab.up, segment(b, e, SYN_ACK, { ack: 1 }))).toBe(
      `front ${end(...b)} > ${end(...a)} tcp`,
    )
    expect(lab.line(lab.front, segment(a, b, ACK, { seq: 1, ack: 1 }))).toBe(
      `up ${end(...e)} > ${end(...b)} tcp`,
    )
    expect(lab.lines(lab.up, segment(b, e, ACK, { seq: 1, ack: 0x4000_0000 }))).toEqual([])
    expect(lab.drops()).toEqual({ 'conntrack-invalid': 1 })
    lab.end()
  })

  it('translates echoes by identifier', () => {
    const lab = new NatLab()
    const [request, answer] = family === 4 ? [8, 0] : [128, 129]
    expect(lab.line(lab.front, echo(client, outside, 7))).toBe(
      `up ${uplink} > ${outside} ${name} ${request} id 7`,
    )
    const line = lab.line(lab.front, echo(sibling, outside, 7))
    const id = Number(/id (\d+)/.exec(line)![1])
    expect(id).not.toBe(7)
    expect(lab.line(lab.up, echo(outside, uplink, id, true))).toBe(
      `front ${outside} > ${sibling} ${name} ${answer} id 7`,
    )
    lab.end()
  })

  it('does not take the question of an echo for the answer to another', () => {
    const lab = new NatLab()
    lab.line(lab.front, echo(client, outside, 7))
    expect(lab.line(lab.up, echo(outside, uplink, 7))).toMatch(`up ${uplink} > ${outside} ${name}`)
    expect(lab.lines(lab.up, echo(outside, uplink, 8, true))).toEqual([])
    expect(lab.line(lab.up, echo(outside, uplink, 7, true))).toMatch(`front ${outside} > ${client}`)
    lab.end()
  })

  it('translates errors about a connection, and shows who sent them', () => {
    const lab = new NatLab()
    const hop = family === 4 ? '192.0.2.77' : '2001:db8:7::7'
    lab.ip(lab.front, datagram(client, 5000, outside, 53))
    const quote = ipOf(lab.one())
    const about = `${end(client, 5000)} > ${end(outside, 53)} udp`
    expect(lab.line(lab.up, unreachable(hop, uplink, quote))).toBe(
      `front ${hop} > ${client} ${name} ${family === 4 ? 3 : 1} [${about}]`,
    )
    // To somebody else than the sender of what it quotes: a forgery.
    const other = family === 4 ? '203.0.113.2' : '2001:db8::2'
    const forged = datagram(outside2, 5000, outside, 53)
    expect(lab.lines(lab.up, unreachable(hop, other, forged))).toEqual([])
    lab.end()
  })

  it('lets nothing in that was not asked for', () => {
    const lab = new NatLab()
    expect(lab.lines(lab.up, datagram(outside, 53, client, 5000))).toEqual([])
    expect(lab.lines(lab.up, segment([outside, 1], [server, 80], SYN))).toEqual([])
    expect(lab.lines(lab.up, echo(outside, client, 1))).toEqual([])
    expect(lab.drops()).toEqual({ 'not-published': 3 })
    const error = unreachable(outside, client, datagram(client, 1, outside, 2))
    expect(lab.lines(lab.up, error)).toEqual([])
    expect(lab.drops()).toEqual({ 'not-published': 3, 'conntrack-invalid': 1 })
    lab.end()
  })

  it('does not translate or track between its own networks', () => {
    const lab = new NatLab()
    expect(lab.line(lab.front, datagram(client, 5000, server, 53))).toBe(
      `back ${end(client, 5000)} > ${end(server, 53)} udp`,
    )
    expect(lab.conntrack.count).toBe(0)
    lab.end()
  })

  it('leaves addresses if told, and lets the answers in', () => {
    const lab = new NatLab()
    lab.nat.setNetwork(lab.front, {
      masquerade4: 'none',
      masquerade6: 'none',
      inbound4: 'published',
      inbound6: 'published',
    })
    expect(lab.line(lab.front, datagram(client, 5000, outside, 53))).toBe(
      `up ${end(client, 5000)} > ${end(outside, 53)} udp`,
    )
    expect(lab.line(lab.up, datagram(outside, 53, client, 5000))).toBe(
      `front ${end(outside, 53)} > ${end(client, 5000)} udp`,
    )
    expect(lab.lines(lab.up, datagram(outside, 54, client, 5000))).toEqual([])
    lab.nat.setNetwork(lab.front, {
      masquerade4: 'none',
      masquerade6: 'none',
      inbound4: 'open',
      inbound6: 'open',
    })
    expect(lab.lines(lab.up, datagram(outside, 54, client, 5000)).length).toBe(1)
    lab.end()
  })

  it('uses a fixed address', () => {
    const lab = new NatLab()
    const fixed = family === 4 ? '192.0.2.5' : '2001:db8:5::5'
    const address = parseAddress(fixed)
    lab.nat.setNetwork(lab.front, {
      masquerade4: address,
      masquerade6: address,
      inbound4: 'published',
      inbound6: 'published',
    })
    expect(lab.line(lab.front, datagram(client, 5000, outside, 53))).toBe(
      `up ${end(fixed, 5000)} > ${end(outside, 53)} udp`,
    )
    expect(lab.line(lab.up, datagram(outside, 53, fixed, 5000))).toBe(
      `front ${end(outside, 53)} > ${end(client, 5000)} udp`,
    )
    lab.end()
  })

  it('serves more connections than ports, until all differ in nothing', () => {
    const lab = new NatLab({ portMin: 2000, portMax: 2003 })
    const seen = new Set<string>()
    for (let port = 5000; port < 5004; port++) {
      for (const to of [outside, outside2]) {
        seen.add(lab.line(lab.front, datagram(client, port, to, 53)))
        seen.add(lab.line(lab.front, datagram(sibling, port + 100, to, 99)))
      }
    }
    expect(seen.size).toBe(16)
    expect(lab.lines(lab.front, datagram(client, 6000, outside, 53))).toEqual([])
    expect(lab.drops()).toEqual({ 'nat-ports-exhausted': 1 })
    lab.end()
  })

  it('explains a traced packet and changes nothing', () => {
    const lab = new NatLab()
    const way = lab.trace(lab.front, datagram(client, 5000, outside, 53))
    expect(way).toContain(`nat: source becomes ${uplink} port 5000`)
    expect(way.at(-1)).toBe('transmitted: up')
    expect(lab.conntrack.count).toBe(0)
    expect(lab.nat.mappings).toBe(0)
    const refused = lab.trace(lab.up, datagram(outside, 1, client, 2))
    expect(refused).toContain('nat: new, from outside, to what front does not publish')
    expect(refused.at(-1)).toBe('dropped: not-published')
    expect(lab.drops()).toEqual({})
    lab.end()
  })

  it('lets everybody in by a mapping, if told, as long as it lives', () => {
    const lab = new NatLab({ filtering: 'endpoint-independent' })
    const from2 = datagram(outside2, 9, uplink, 5000)
    const refused = (lines: string[]): void => {
      expect(lines.join()).toMatch(new RegExp(`^up ${uplink} > ${outside2} ${name}`))
    }
    refused(lab.lines(lab.up, from2))
    lab.line(lab.front, datagram(client, 5000, outside, 53))
    expect(lab.line(lab.up, from2)).toBe(`front ${end(outside2, 9)} > ${end(client, 5000)} udp`)
    expect(lab.line(lab.front, datagram(client, 5000, outside2, 9))).toBe(
      `up ${end(uplink, 5000)} > ${end(outside2, 9)} udp`,
    )
    refused(lab.lines(lab.up, datagram(outside2, 9, uplink, 5001)))
    lab.nat.configure({})
    refused(lab.lines(lab.up, datagram(outside2, 10, uplink, 5000)))
    expect(lab.line(lab.up, from2), 'goes on').toMatch(`front ${end(outside2, 9)}`)
    lab.run(120_000)
    lab.nat.configure({ filtering: 'endpoint-independent' })
    refused(lab.lines(lab.up, from2))
    lab.end()
  })

  it('lets in whom a mapping has spoken to, from any port, if told', () => {
    const lab = new NatLab({ filtering: 'address-dependent' })
    const isLetIn = (from: string, port: number, to = 5000): boolean => {
      const lines = lab.lines(lab.up, datagram(from, port, uplink, to))
      const wanted = `front ${end(from, port)} > ${end(client, 5000)} udp`
      if (lines.join() !== wanted) expect(lines.join()).toMatch(/^up /)
      return lines.join() === wanted
    }
    lab.line(lab.front, datagram(client, 5000, outside, 53))
    expect(isLetIn(outside, 9)).toBe(true)
    expect(isLetIn(outside2, 53), 'nobody spoke to it').toBe(false)
    expect(isLetIn(outside, 10, 5001), 'nobody has that port').toBe(false)
    lab.line(lab.front, datagram(client, 5000, outside2, 53))
    expect(isLetIn(outside2, 9)).toBe(true)
    lab.run(600_000)
    expect(lab.nat.mappings).toBe(0)
    lab.line(lab.front, datagram(client, 5000, outside2, 53))
    expect(isLetIn(outside, 11), 'forgotten with its connection').toBe(false)
    lab.nat.configure({})
    lab.line(lab.front, datagram(client, 5000, outside, 53))
    expect(isLetIn(outside, 12)).toBe(false)
    lab.nat.configure({ filtering: 'address-dependent' })
    expect(isLetIn(outside, 13), 'of connections from before').toBe(true)
    lab.end()
  })

  it('takes its ports from the range it is told', () => {
    const lab = new NatLab({ portMin: 20_000, portMax: 20_003 })
    const ports = [5000, 20_001, 6000, 7000].map((port) => {
      const line = lab.line(lab.front, datagram(client, port, outside, 53))
      return Number(/:(\d+) >/.exec(line)![1])
    })
    expect(ports[1], 'kept').toBe(20_001)
    expect([...ports].sort()).toEqual([20_000, 20_001, 20_002, 20_003])
    lab.lines(lab.front, datagram(client, 8000, outside, 53))
    expect(lab.drops()['nat-ports-exhausted']).toBe(1)
    lab.end()
  })

  it('forgets what is idle, and gives the port back', () => {
    const lab = new NatLab()
    lab.lines(lab.front, datagram(client, 5000, outside, 53))
    expect(lab.nat.mappings).toBe(1)
    lab.run(600_000)
    expect(lab.conntrack.count).toBe(0)
    expect(lab.nat.mappings).toBe(0)
    lab.end()
  })

  it('quotes a packet to its sender as it was sent', () => {
    const lab = new NatLab()
    lab.lines(lab.front, datagram(client, 5000, outside, 53))
    // An answer whose hops run out here: the far side knows nothing of the client.
    const answer = datagram(outside, 53, uplink, 5000)
    if (family === 4) {
      const ip = udp({ from: outside, to: uplink, ttl: 1 }, { from: 53, to: 5000 }, DATA)
      answer.set(ip)
    } else answer[7] = 1
    const about = `${end(outside, 53)} > ${end(uplink, 5000)} udp`
    expect(lab.line(lab.up, answer)).toBe(
      `up ${uplink} > ${outside} ${name} ${family === 4 ? 11 : 3} [${about}]`,
    )
    lab.end()
  })
})

describe.each([
  ['IPv4', PLAN4],
  ['IPv6', PLAN6],
])('published ports, %s', (_, plan: Plan) => {
  const { client, sibling, gateway, server, uplink, outside, family } = plan
  const name = family === 4 ? 'icmp' : 'icmp6'

  it('lead to their target with the address of the client kept', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(server))
    expect(lab.line(lab.up, segment([outside, 700], [uplink, 8080], SYN))).toBe(
      `back ${end(outside, 700)} > ${end(server, 80)} tcp`,
    )
    expect(lab.line(lab.back, segment([server, 80], [outside, 700], SYN_ACK, { ack: 1 }))).toBe(
      `up ${end(uplink, 8080)} > ${end(outside, 700)} tcp`,
    )
    expect(lab.drops()).toEqual({})
    lab.end()
  })

  it('are ranges, each port to its own', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(server, { protocol: 17, port: 9000, count: 1000, targetPort: 9000 }))
    for (const port of [9000, 9500, 9999]) {
      expect(lab.line(lab.up, datagram(outside, 700, uplink, port))).toBe(
        `back ${end(outside, 700)} > ${end(server, port)} udp`,
      )
    }
    expect(lab.line(lab.up, datagram(outside, 700, uplink, 8999))).toContain(`up ${uplink}`)
    expect(lab.line(lab.up, datagram(outside, 700, uplink, 10_000))).toContain(`up ${uplink}`)
    lab.end()
  })

  it('are for the outside alone if they say so', () => {
    const lab = new NatLab()
    const address = parseAddress(family === 4 ? '203.0.113.9' : '2001:db8::9')
    lab.nat.publish(mappingOf(server, { address, outsideOnly: true }))
    const to = formatAddress(address)
    expect(lab.line(lab.up, segment([outside, 700], [to, 8080], SYN))).toBe(
      `back ${end(outside, 700)} > ${end(server, 80)} tcp`,
    )
    // From within it is what it is without the port: an address outside, that nobody has.
    expect(lab.lines(lab.front, segment([client, 700], [to, 8080], SYN))).not.toContain(
      `back ${end(client, 700)} > ${end(server, 80)} tcp`,
    )
    lab.run(60_000)
    lab.end()
  })

  it('are asked for by aliases of the address of the router', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(server))
    const alias = family === 4 ? '192.0.2.1' : '2001:db8:1::1'
    const ask = (port: number): string =>
      lab.line(lab.front, segment([client, port], [alias, 8080], SYN))
    expect(ask(700)).toMatch(/^up /)
    lab.nat.setAliases([parseAddress(alias)], [parseAddress(uplink)])
    expect(ask(701)).toBe(`back ${end(client, 701)} > ${end(server, 80)} tcp`)
    expect(lab.line(lab.back, segment([server, 80], [client, 701], SYN_ACK, { ack: 1 }))).toBe(
      `front ${end(alias, 8080)} > ${end(client, 701)} tcp`,
    )
    // Another port of it is still where it was.
    expect(lab.line(lab.front, segment([client, 702], [alias, 8081], SYN))).toMatch(/^up /)
    lab.nat.setAliases([], [])
    expect(ask(703)).toMatch(/^up /)
    lab.end()
  })

  it('work from the networks, by any address of the router', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(server))
    for (const address of [uplink, gateway]) {
      expect(lab.line(lab.front, segment([client, 700], [address, 8080], SYN))).toBe(
        `back ${end(client, 700)} > ${end(server, 80)} tcp`,
      )
      // Both connections would have the same answers: the second one comes from another port.
      if (address === uplink) {
        expect(lab.line(lab.back, segment([server, 80], [client, 700], RST_ACK, { ack: 1 }))).toBe(
          `front ${end(uplink, 8080)} > ${end(client, 700)} tcp`,
        )
        lab.run(60_000)
      }
    }
    lab.end()
  })

  it('keep two connections apart whose answers would be the same', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(server))
    lab.nat.publish(mappingOf(server, { port: 8081 }))
    lab.line(lab.up, segment([outside, 700], [uplink, 8080], SYN))
    const line = lab.line(lab.up, segment([outside, 700], [uplink, 8081], SYN))
    const port = Number(/:(\d+) > /.exec(line)![1])
    expect(port).not.toBe(700)
    expect(lab.line(lab.back, segment([server, 80], [outside, port], SYN_ACK, { ack: 1 }))).toBe(
      `up ${end(uplink, 8081)} > ${end(outside, 700)} tcp`,
    )
    lab.end()
  })

  it('lead a neighbor of the target back through the router', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(sibling, { protocol: 17 }))
    expect(lab.line(lab.front, datagram(client, 700, uplink, 8080))).toBe(
      `front ${end(client, 700)} > ${end(sibling, 80)} udp`,
    )
    expect(lab.nat.hairpins).toBe(1)
    const bypasses = (bytes: Uint8Array): boolean => {
      const packet = lab.pool.alloc(14 + bytes.length)!
      packet.len = 14 + bytes.length
      lab.pool.mem.fill(0, packet.head, packet.head + 12)
      lab.pool.mem.set(family === 4 ? [8, 0] : [0x86, 0xdd], packet.head + 12)
      lab.pool.mem.set(bytes, packet.head + 14)
      const result = lab.nat.bypasses(packet)
      lab.pool.free(packet)
      return result
    }
    const answer = datagram(sibling, 80, client, 700)
    expect(bypasses(answer)).toBe(true)
    expect(bypasses(unreachable(sibling, client, datagram(client, 700, sibling, 80)))).toBe(true)
    expect(bypasses(datagram(sibling, 81, client, 700))).toBe(false)
    expect(bypasses(datagram(client, 700, sibling, 80))).toBe(false)
    for (let bytes = 0; bytes < answer.length; bytes++) bypasses(answer.slice(0, bytes))
    expect(lab.line(lab.front, answer)).toBe(`front ${end(uplink, 8080)} > ${end(client, 700)} udp`)
    lab.run(600_000)
    expect(lab.nat.hairpins).toBe(0)
    lab.end()
  })

  it('let a sandbox reach itself, from the address that it asked for', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(client, { protocol: 17 }))
    expect(lab.line(lab.front, datagram(client, 700, gateway, 8080))).toBe(
      `front ${end(gateway, 700)} > ${end(client, 80)} udp`,
    )
    expect(lab.nat.hairpins).toBe(0)
    expect(lab.line(lab.front, datagram(client, 80, gateway, 700))).toBe(
      `front ${end(gateway, 8080)} > ${end(client, 700)} udp`,
    )
    lab.end()
  })

  it('move UDP connections with the next datagram when published again', () => {
    const lab = new NatLab()
    const old = mappingOf(server, { protocol: 17 })
    lab.nat.publish(old)
    lab.line(lab.up, datagram(outside, 700, uplink, 8080))
    lab.line(lab.back, datagram(server, 80, outside, 700))
    lab.nat.unpublish(old)
    expect(lab.conntrack.count).toBe(0)
    lab.nat.publish(mappingOf(client, { protocol: 17 }))
    expect(lab.line(lab.up, datagram(outside, 700, uplink, 8080))).toBe(
      `front ${end(outside, 700)} > ${end(client, 80)} udp`,
    )
    lab.end()
  })

  it('reach an internal network', () => {
    const lab = new NatLab()
    const host = family === 4 ? '10.3.0.33' : 'fd00:3::33'
    const deep = lab.leg('deep', ['10.3.0.1/24', 'fd00:3::1/64'], { internal: true })
    lab.host(deep, host)
    lab.nat.publish(mappingOf(host, { protocol: 17 }))
    expect(lab.line(lab.up, datagram(outside, 700, uplink, 8080))).toBe(
      `deep ${end(outside, 700)} > ${end(host, 80)} udp`,
    )
    expect(lab.line(deep, datagram(host, 80, outside, 700))).toBe(
      `up ${end(uplink, 8080)} > ${end(outside, 700)} udp`,
    )
    expect(lab.lines(deep, datagram(host, 81, outside, 700))).toEqual([])
    expect(lab.drops()).toEqual({ 'network-internal': 1 })
    lab.end()
  })

  it('hide the target in its errors', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(server, { protocol: 17 }))
    lab.ip(lab.up, datagram(outside, 700, uplink, 8080))
    const quote = ipOf(lab.one())
    const about = `${end(outside, 700)} > ${end(uplink, 8080)} udp`
    expect(lab.line(lab.back, unreachable(server, outside, quote))).toBe(
      `up ${uplink} > ${outside} ${name} ${family === 4 ? 3 : 1} [${about}]`,
    )
    lab.end()
  })

  it('do not serve as ports to masquerade with', () => {
    const lab = new NatLab({ portMin: 8080, portMax: 8083 })
    lab.nat.publish(mappingOf(server, { protocol: 17, port: 8080 }))
    const line = lab.line(lab.front, datagram(client, 8080, outside, 53))
    expect(line).toBe(`up ${end(uplink, 8082)} > ${end(outside, 53)} udp`)
    lab.end()
  })
})

describe.each([
  ['IPv4', PLAN4],
  ['IPv6', PLAN6],
])('virtual services, %s', (_, plan: Plan) => {
  const { client, sibling, server, outside, uplink, family } = plan
  const vip = family === 4 ? '10.1.0.100' : 'fd00:1::100'
  const serviceOf = (balance: Turns) =>
    ({ protocol: 6, address: parseAddress(vip), port: 80, targetPort: 8000, balance }) as const

  it('spread connections, keep the address of the client, and answer as themselves', () => {
    const lab = new NatLab()
    const balance = new Turns([server, sibling])
    lab.router.addAddress(lab.front, parseAddress(vip))
    lab.nat.addService(serviceOf(balance))
    expect(lab.line(lab.front, segment([client, 700], [vip, 80], SYN))).toBe(
      `back ${end(client, 700)} > ${end(server, 8000)} tcp`,
    )
    expect(lab.line(lab.front, segment([client, 701], [vip, 80], SYN))).toBe(
      `front ${end(client, 701)} > ${end(sibling, 8000)} tcp`,
    )
    expect(balance.open).toEqual([1, 1])
    expect(lab.nat.hairpins).toBe(1)
    expect(lab.line(lab.back, segment([server, 8000], [client, 700], SYN_ACK, { ack: 1 }))).toBe(
      `front ${end(vip, 80)} > ${end(client, 700)} tcp`,
    )
    // The same connection stays where it is.
    expect(lab.line(lab.front, segment([client, 700], [vip, 80], ACK, { seq: 1, ack: 1 }))).toBe(
      `back ${end(client, 700)} > ${end(server, 8000)} tcp`,
    )
    lab.end()
    expect(balance.open).toEqual([0, 0])
    expect(balance.failures).toEqual([0, 0])
  })

  it('are not reached from outside by their own address, unless the network is open', () => {
    const lab = new NatLab()
    lab.router.addAddress(lab.front, parseAddress(vip))
    lab.nat.addService(serviceOf(new Turns([server])))
    const syn = segment([outside, 700], [vip, 80], SYN)
    expect(lab.lines(lab.up, syn)).toEqual([])
    expect(lab.drops()).toEqual({ 'not-published': 1 })
    const masquerade = { masquerade4: 'none', masquerade6: 'none' } as const
    lab.nat.setNetwork(lab.back, { ...masquerade, inbound4: 'open', inbound6: 'open' })
    expect(lab.line(lab.up, syn)).toBe(`back ${end(outside, 700)} > ${end(server, 8000)} tcp`)
    lab.end()
  })

  it('choose anew for a client that comes again from the port of a connection that is over', () => {
    const lab = new NatLab()
    const balance = new Turns([server, sibling])
    lab.router.addAddress(lab.front, parseAddress(vip))
    lab.nat.addService(serviceOf(balance))
    const syn = segment([client, 700], [vip, 80], SYN)
    const to = (target: string) => `${end(client, 700)} > ${end(target, 8000)} tcp`
    expect(lab.line(lab.front, syn)).toBe(`back ${to(server)}`)
    expect(lab.line(lab.front, syn), 'sent twice').toBe(`back ${to(server)}`)
    lab.line(lab.back, segment([server, 8000], [client, 700], RST_ACK, { ack: 1 }))
    expect(lab.line(lab.front, syn)).toBe(`front ${to(sibling)}`)
    expect(balance.open).toEqual([0, 1])
    expect(lab.conntrack.count).toBe(1)
    lab.end()
  })

  it('hear of backends that refuse or stay silent', () => {
    const lab = new NatLab()
    const balance = new Turns([server, sibling])
    lab.router.addAddress(lab.front, parseAddress(vip))
    lab.nat.addService(serviceOf(balance))
    lab.lines(lab.front, segment([client, 700], [vip, 80], SYN))
    lab.lines(lab.back, segment([server, 8000], [client, 700], RST_ACK, { ack: 1 }))
    expect(balance.failures).toEqual([1, 0])
    lab.lines(lab.front, segment([client, 701], [vip, 80], SYN))
    lab.run(300_000)
    expect(balance.failures).toEqual([1, 1])
    expect(balance.open).toEqual([0, 0])
    expect(balance.forgot).toEqual([1, 1])
    lab.end()
  })

  it('hear of a backend that answers none of three SYNs at once, and once only', () => {
    const lab = new NatLab()
    const balance = new Turns([server, sibling])
    lab.router.addAddress(lab.front, parseAddress(vip))
    lab.nat.addService(serviceOf(balance))
    const syn = segment([client, 700], [vip, 80], SYN)
    for (const failures of [0, 0, 1, 1, 1]) {
      lab.lines(lab.front, syn)
      expect(balance.failures).toEqual([failures, 0])
      lab.run(1000)
    }
    lab.run(300_000)
    expect(balance.failures).toEqual([1, 0])
    expect([balance.open, balance.forgot]).toEqual([
      [0, 0],
      [1, 0],
    ])
    lab.end()
  })

  it('hear of the end of a connection when it is over, not when it is forgotten', () => {
    const lab = new NatLab()
    const balance = new Turns([server])
    lab.router.addAddress(lab.front, parseAddress(vip))
    lab.nat.addService(serviceOf(balance))
    const [there, here, back] = [
      [vip, 80],
      [client, 700],
      [server, 8000],
    ] as const
    lab.lines(lab.front, segment(here, there, SYN))
    lab.lines(lab.back, segment(back, here, SYN_ACK, { ack: 1 }))
    lab.lines(lab.front, segment(here, there, ACK, { seq: 1, ack: 1 }))
    lab.lines(lab.front, segment(here, there, FIN_ACK, { seq: 1, ack: 1 }))
    lab.lines(lab.back, segment(back, here, FIN_ACK, { seq: 1, ack: 2 }))
    expect(balance.open, 'the last acknowledgement is to come').toEqual([1])
    lab.lines(lab.front, segment(here, there, ACK, { seq: 2, ack: 2 }))
    expect([balance.open, balance.forgot]).toEqual([[0], [0]])
    expect(lab.conntrack.count).toBe(1)
    lab.run(300_000)
    expect([balance.open, balance.forgot, balance.failures]).toEqual([[0], [1], [0]])
    lab.end()
  })

  it('refuse without a backend, and end their connections when removed', () => {
    const lab = new NatLab()
    const none = serviceOf(new Turns([]))
    lab.router.addAddress(lab.front, parseAddress(vip))
    lab.nat.addService(none)
    expect(lab.lines(lab.front, segment([client, 700], [vip, 80], SYN))).toEqual([])
    expect(lab.drops()).toEqual({ 'no-backend': 1 })
    lab.nat.removeService(none)
    const balance = new Turns([server])
    const some = serviceOf(balance)
    lab.nat.addService(some)
    lab.lines(lab.front, segment([client, 700], [vip, 80], SYN))
    expect(balance.open).toEqual([1])
    lab.nat.removeService(some)
    expect(balance.open).toEqual([0])
    expect(balance.failures).toEqual([0])
    expect(lab.conntrack.count).toBe(0)
    lab.end()
  })

  it('are not reached by ports published at any address', () => {
    const lab = new NatLab()
    lab.router.addAddress(lab.front, parseAddress(vip))
    lab.nat.addService(serviceOf(new Turns([server])))
    lab.nat.publish(mappingOf(sibling, { port: 80 }))
    lab.nat.publish(mappingOf(sibling, { port: 81 }))
    expect(lab.line(lab.front, segment([client, 700], [vip, 80], SYN))).toContain(end(server, 8000))
    expect(lab.line(lab.up, segment([outside, 700], [uplink, 80], SYN))).toContain(end(sibling, 80))
    // Port 81 of the virtual address is the router's, which has no service there.
    expect(lab.line(lab.front, segment([client, 700], [vip, 81], SYN))).toBe(
      `front ${end(vip, 81)} > ${end(client, 700)} tcp`,
    )
    lab.end()
  })
})

describe('fragments', () => {
  const { client, outside, uplink } = PLAN4
  const whole = udp({ from: client, to: outside }, { from: 5000, to: 53 }, new Uint8Array(2000))
  const payload = whole.slice(20)
  const first = ip4({ from: client, to: outside, id: 9, fragment: 0x2000 }, payload.slice(0, 1200))
  const second = ip4({ from: client, to: outside, id: 9, fragment: 150 }, payload.slice(1200))

  it('follow their first', () => {
    const lab = new NatLab()
    expect(lab.line(lab.front, first)).toBe(`up ${end(uplink, 5000)} > ${end(outside, 53)} udp`)
    expect(lab.line(lab.front, second)).toBe(`up ${uplink} > ${outside} udp fragment`)
    lab.end()
  })

  it('wait for their first', () => {
    const lab = new NatLab()
    expect(lab.lines(lab.front, second)).toEqual([])
    lab.run(500)
    expect(lab.lines(lab.front, first).sort()).toEqual([
      `up ${uplink} > ${outside} udp fragment`,
      `up ${end(uplink, 5000)} > ${end(outside, 53)} udp`,
    ])
    // And of a connection that is known already.
    const third = ip4({ from: client, to: outside, id: 10, fragment: 150 }, payload.slice(1200))
    const head = ip4(
      { from: client, to: outside, id: 10, fragment: 0x2000 },
      payload.slice(0, 1200),
    )
    expect(lab.lines(lab.front, third)).toEqual([])
    expect(lab.lines(lab.front, head).length).toBe(2)
    expect(lab.drops()).toEqual({})
    lab.end()
  })

  it('do not wait for ever', () => {
    const lab = new NatLab()
    lab.lines(lab.front, second)
    lab.run(1000)
    expect(lab.drops()).toEqual({ 'fragment-timeout': 1 })
    for (let i = 0; i < 300; i++) {
      lab.lines(lab.front, ip4({ from: client, to: outside, id: i, fragment: 150 }, DATA))
    }
    expect(lab.drops()['fragment-table-full']).toBe(300 - 128)
    lab.end()
  })

  it('of a datagram to the router itself reach it in any order', () => {
    const lab = new NatLab()
    const message = new Uint8Array(1600)
    message[0] = 8
    new DataView(message.buffer).setUint16(2, ~sum(message, 0, message.length) & 0xffff)
    const to = { from: client, to: PLAN4.gateway, protocol: 1, id: 5 }
    expect(lab.lines(lab.front, ip4({ ...to, fragment: 100 }, message.slice(800)))).toEqual([])
    lab.ip(lab.front, ip4({ ...to, fragment: 0x2000 }, message.slice(0, 800)))
    expect(lab.take().length).toBe(2)
    lab.end()
  })

  it('of IPv6 follow their first', () => {
    const lab = new NatLab()
    const ends = { from: PLAN6.client, to: PLAN6.outside }
    const datagram6 = udp(ends, { from: 5000, to: 53 }, new Uint8Array(1600)).slice(40)
    const cut = (offset: number, more: number, bytes: Uint8Array): Uint8Array => {
      const field = offset | more
      const header = [17, 0, field >>> 8, field & 0xff, 0, 0, 0, 9]
      return ip6({ ...ends, next: 44 }, Uint8Array.of(...header, ...bytes))
    }
    expect(lab.lines(lab.front, cut(800, 0, datagram6.slice(800)))).toEqual([])
    lab.ip(lab.front, cut(0, 1, datagram6.slice(0, 800)))
    const sent = lab.take()
    expect(sent.length).toBe(2)
    const joined = new Uint8Array(40 + datagram6.length)
    for (const frame of sent) {
      const ip = ipOf(frame)
      const at = ((ip[42]! << 8) | ip[43]!) & 0xfff8
      joined.set(ip.slice(0, 40))
      joined.set(ip.slice(48), 40 + at)
    }
    joined[6] = 17
    expect(describeIp(joined, true)).toBe(
      `${end(PLAN6.uplink, 5000)} > ${end(PLAN6.outside, 53)} udp`,
    )
    lab.end()
  })
})
