/**
 * Valid frames of every kind that a node meets, built octet by octet and without the code under
 * test. Fuzzers mutate them; simulations throw them between their hosts' own traffic.
 */
import { parseAddress, toBytes } from '../../stack/address.ts'
import { GsoType } from '../../stack/packet.ts'
import { type FrameFacts, PLAIN } from '../conformance/device.ts'

export interface Frame {
  readonly what: string
  readonly bytes: Uint8Array
  readonly facts: FrameFacts
}

/** Who sends, and to whom; addresses as text. */
export interface Parties {
  readonly mac: string
  readonly ip4: string
  readonly ip6: string
  readonly peerMac: string
  readonly peerIp4: string
  readonly peerIp6: string
  readonly gatewayMac: string
  readonly gatewayIp4: string
  readonly gatewayIp6: string
  /** In another network, reached through the gateway. */
  readonly farIp4: string
  readonly farIp6: string
}

type Octets = readonly number[]

const ALL_ONES: Octets = [255, 255, 255, 255, 255, 255]
const NO_MAC: Octets = [0, 0, 0, 0, 0, 0]
const ANY4: Octets = [0, 0, 0, 0]
const ANY6: Octets = new Array<number>(16).fill(0)
const ALL_NODES: Octets = [0xff, 2, ...new Array<number>(13).fill(0), 1]
const ALL_ROUTERS: Octets = [0xff, 2, ...new Array<number>(13).fill(0), 2]

const macOf = (text: string): Octets => text.split(':').map((pair) => Number.parseInt(pair, 16))
const ipOf = (text: string): Octets => [...toBytes(parseAddress(text))]
const u16 = (value: number): Octets => [(value >> 8) & 0xff, value & 0xff]
const fill = (bytes: number): Octets => Array.from({ length: bytes }, (_, i) => (i * 7) & 0xff)

function sumOf(octets: Octets): number {
  let total = 0
  for (let i = 0; i < octets.length; i += 2) total += (octets[i]! << 8) | (octets[i + 1] ?? 0)
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return total
}

/** Octets with the complement of their sum (and `seed`) at `at`. */
function sealed(octets: Octets, at: number, seed = 0): Octets {
  const result = [...octets]
  result.splice(at, 2, 0, 0)
  const total = sumOf([...result, ...(result.length % 2 === 1 ? [0] : []), ...u16(seed)])
  result.splice(at, 2, ...u16(~total & 0xffff))
  return result
}

function ether(dst: Octets, src: Octets, type: number, payload: Octets): Octets {
  return [...dst, ...src, ...u16(type), ...payload]
}

interface Ip4 {
  src: Octets
  dst: Octets
  protocol: number
  payload: Octets
  ttl?: number
  fragment?: number
  id?: number
  options?: Octets
}

function ip4({ src, dst, protocol, payload, ttl = 64, fragment = 0, id = 7, options = [] }: Ip4) {
  const headerBytes = 20 + options.length
  const total = headerBytes + payload.length
  const start = [0x40 | (headerBytes / 4), 0, ...u16(total), ...u16(id), ...u16(fragment)]
  const header = [...start, ttl, protocol, 0, 0, ...src, ...dst, ...options]
  return [...sealed(header, 10), ...payload]
}

interface Ip6 {
  src: Octets
  dst: Octets
  next: number
  payload: Octets
  hops?: number
}

function ip6({ src, dst, next, payload, hops = 64 }: Ip6): Octets {
  return [0x60, 0, 0, 0, ...u16(payload.length), next, hops, ...src, ...dst, ...payload]
}

function pseudoSum(src: Octets, dst: Octets, protocol: number, bytes: number): number {
  return sumOf([...src, ...dst, ...u16(protocol), ...u16(bytes)])
}

function udp(src: Octets, dst: Octets, data: Octets): Octets {
  const header = [...u16(40_000), ...u16(7777), ...u16(8 + data.length), 0, 0]
  return sealed([...header, ...data], 6, pseudoSum(src, dst, 17, 8 + data.length))
}

function tcp(src: Octets, dst: Octets, flags: number, data: Octets): Octets {
  const ports = [...u16(40_001), ...u16(80)]
  const header = [...ports, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, ...u16(65_535), 0, 0, 0, 0]
  return sealed([...header, ...data], 16, pseudoSum(src, dst, 6, 20 + data.length))
}

function icmp4(type: number, code: number, rest: Octets): Octets {
  return sealed([type, code, 0, 0, ...rest], 2)
}

function icmp6(src: Octets, dst: Octets, type: number, code: number, rest: Octets): Octets {
  return sealed([type, code, 0, 0, ...rest], 2, pseudoSum(src, dst, 58, 4 + rest.length))
}

function plain(what: string, bytes: Octets): Frame {
  return { what, bytes: Uint8Array.from(bytes), facts: PLAIN }
}

/** A frame with the transport checksum left partial: the pseudo-header's sum in its field. */
function offloaded(
  what: string,
  bytes: Octets,
  at: { ip: number; transport: number; protocol: 6 | 17; gsoType: number; gsoSize: number },
): Frame {
  const { ip, transport, protocol, gsoType, gsoSize } = at
  const csumOffset = protocol === 6 ? 16 : 6
  const six = bytes[ip]! >> 4 === 6
  const addresses = six ? bytes.slice(ip + 8, ip + 40) : bytes.slice(ip + 12, ip + 20)
  const octets = [...bytes]
  const seed = sumOf([...addresses, ...u16(protocol), ...u16(bytes.length - transport)])
  octets.splice(transport + csumOffset, 2, ...u16(seed))
  const facts = { gsoType, gsoSize, csumStart: transport, csumOffset }
  return { what, bytes: Uint8Array.from(octets), facts }
}

/** All kinds of frames from one party to another. */
export function corpus(p: Parties): Frame[] {
  return [
    ...arpFrames(p),
    ...ndFrames(p),
    ...ip4Frames(p),
    ...ip6Frames(p),
    ...oddFrames(p),
  ].concat(superFrames(p))
}

function arpFrames(p: Parties): Frame[] {
  const [mac, peer, gateway] = [macOf(p.mac), macOf(p.peerMac), macOf(p.gatewayMac)]
  const [ip, peerIp, gatewayIp] = [ipOf(p.ip4), ipOf(p.peerIp4), ipOf(p.gatewayIp4)]
  const arp = (dst: Octets, oper: number, sha: Octets, spa: Octets, tha: Octets, tpa: Octets) =>
    ether(dst, mac, 0x0806, [0, 1, 8, 0, 6, 4, 0, oper, ...sha, ...spa, ...tha, ...tpa])
  return [
    plain('ARP request', arp(ALL_ONES, 1, mac, ip, NO_MAC, peerIp)),
    plain('ARP request for the gateway', arp(ALL_ONES, 1, mac, ip, NO_MAC, gatewayIp)),
    plain('ARP reply', arp(peer, 2, mac, ip, peer, peerIp)),
    plain('ARP reply to the gateway', arp(gateway, 2, mac, ip, gateway, gatewayIp)),
    plain('ARP probe', arp(ALL_ONES, 1, mac, ANY4, NO_MAC, peerIp)),
    plain('ARP announcement', arp(ALL_ONES, 1, mac, ip, NO_MAC, ip)),
    plain('ARP claim of the gateway', arp(ALL_ONES, 1, mac, gatewayIp, NO_MAC, gatewayIp)),
    plain('RARP request', arp(ALL_ONES, 3, mac, ANY4, mac, ANY4)),
  ]
}

function ndFrames(p: Parties): Frame[] {
  const mac = macOf(p.mac)
  const [ip, peer, gateway] = [ipOf(p.ip6), ipOf(p.peerIp6), ipOf(p.gatewayIp6)]
  const group = (address: Octets): Octets => [
    ...[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff],
    ...address.slice(13),
  ]
  const groupMac = (address: Octets): Octets => [0x33, 0x33, ...address.slice(12)]
  const nd = (dstMac: Octets, src: Octets, dst: Octets, type: number, rest: Octets): Octets => {
    const payload = icmp6(src, dst, type, 0, rest)
    return ether(dstMac, mac, 0x86dd, ip6({ src, dst, next: 58, payload, hops: 255 }))
  }
  const [sll, tll] = [
    [1, 1, ...mac],
    [2, 1, ...mac],
  ] as const
  const solicit = (target: Octets, src: Octets, option: Octets) =>
    nd(groupMac(group(target)), src, group(target), 135, [0, 0, 0, 0, ...target, ...option])
  const advertise = (target: Octets) =>
    nd([0x33, 0x33, 0, 0, 0, 1], ip, ALL_NODES, 136, [0x20, 0, 0, 0, ...target, ...tll])
  const prefix = [3, 4, 64, 0xc0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, ...peer]
  const ra = [64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, ...sll, 5, 1, 0, 0, 0, 0, 5, 0xdc, ...prefix]
  return [
    plain('NS', solicit(peer, ip, sll)),
    plain('NS for the gateway', solicit(gateway, ip, sll)),
    plain('NS of DAD', solicit(peer, ANY6, [])),
    plain('NA', advertise(ip)),
    plain('NA that claims the gateway', advertise(gateway)),
    plain('RS', nd([0x33, 0x33, 0, 0, 0, 2], ip, ALL_ROUTERS, 133, [0, 0, 0, 0, ...sll])),
    plain('RA', nd([0x33, 0x33, 0, 0, 0, 1], ip, ALL_NODES, 134, ra)),
    plain('MLD report', nd([0x33, 0x33, 0, 0, 0, 0x16], ip, ALL_ROUTERS, 143, fill(24))),
  ]
}

function ip4Frames(p: Parties): Frame[] {
  const [mac, peerMac, gatewayMac] = [macOf(p.mac), macOf(p.peerMac), macOf(p.gatewayMac)]
  const [src, peer, gateway, far] = [p.ip4, p.peerIp4, p.gatewayIp4, p.farIp4].map(ipOf) as [
    Octets,
    Octets,
    Octets,
    Octets,
  ]
  const frames: Frame[] = []
  const targets = [
    ['peer', peerMac, peer],
    ['gateway', gatewayMac, gateway],
    ['far', gatewayMac, far],
  ] as const
  for (const [name, dstMac, dst] of targets) {
    const add = (what: string, fields: Omit<Ip4, 'src' | 'dst'>) => {
      frames.push(
        plain(`${what} to ${name}`, ether(dstMac, mac, 0x0800, ip4({ src, dst, ...fields }))),
      )
    }
    const echo = icmp4(8, 0, [0x11, 0x22, 0, 1, ...fill(56)])
    const datagram = udp(src, dst, fill(2400))
    add('echo', { protocol: 1, payload: echo })
    add('UDP', { protocol: 17, payload: udp(src, dst, fill(100)) })
    add('UDP of 1472', { protocol: 17, payload: udp(src, dst, fill(1472)), fragment: 0x4000 })
    add('SYN', { protocol: 6, payload: tcp(src, dst, 2, []) })
    add('TCP data', { protocol: 6, payload: tcp(src, dst, 0x18, fill(500)) })
    add('UDP with TTL 1', { protocol: 17, payload: udp(src, dst, fill(10)), ttl: 1 })
    add('UDP with options', {
      protocol: 17,
      payload: udp(src, dst, fill(10)),
      options: [7, 7, 4, 0, 0, 0, 0, 0, 1, 1, 1, 0],
    })
    add('UDP with a source route', {
      protocol: 17,
      payload: udp(src, dst, fill(10)),
      options: [131, 7, 4, ...far, 0],
    })
    add('first fragment', { protocol: 17, payload: datagram.slice(0, 1200), fragment: 0x2000 })
    add('middle fragment', { protocol: 17, payload: datagram.slice(1200, 1800), fragment: 0x2096 })
    add('last fragment', { protocol: 17, payload: datagram.slice(1800), fragment: 225 })
    const two = { protocol: 17, payload: datagram.slice(0, 1200), fragment: 0x2000, id: 8 }
    add('first fragment of another', two)
    const overlap = { protocol: 17, payload: datagram.slice(600, 1400), fragment: 0x204b, id: 8 }
    add('overlapping fragment', overlap)
    add('fragment past the end', { protocol: 17, payload: fill(800), fragment: 0x1ffe })
    const quoted = ip4({ src: dst, dst: src, protocol: 17, payload: udp(dst, src, fill(8)) })
    add('too big', { protocol: 1, payload: icmp4(3, 4, [0, 0, 5, 0, ...quoted]) })
    add('unreachable', { protocol: 1, payload: icmp4(3, 3, [0, 0, 0, 0, ...quoted]) })
    add('time exceeded', { protocol: 1, payload: icmp4(11, 0, [0, 0, 0, 0, ...quoted]) })
    add('GRE', { protocol: 47, payload: fill(40) })
  }
  const spoofed = ip4({ src: far, dst: gateway, protocol: 17, payload: udp(far, gateway, []) })
  frames.push(plain('spoofed UDP', ether(gatewayMac, mac, 0x0800, spoofed)))
  const loop = [127, 0, 0, 1]
  const martian = ip4({ src: loop, dst: far, protocol: 17, payload: udp(loop, far, []) })
  frames.push(plain('martian', ether(gatewayMac, mac, 0x0800, martian)))
  const group = [224, 0, 0, 251]
  const mdns = ip4({ src, dst: group, protocol: 17, payload: udp(src, group, fill(60)), ttl: 255 })
  frames.push(plain('multicast', ether([1, 0, 0x5e, 0, 0, 0xfb], mac, 0x0800, mdns)))
  const every = [255, 255, 255, 255]
  const dhcp = ip4({ src, dst: every, protocol: 17, payload: udp(src, every, fill(60)) })
  frames.push(plain('broadcast', ether(ALL_ONES, mac, 0x0800, dhcp)))
  return frames
}

function ip6Frames(p: Parties): Frame[] {
  const [mac, peerMac, gatewayMac] = [macOf(p.mac), macOf(p.peerMac), macOf(p.gatewayMac)]
  const src = ipOf(p.ip6)
  const targets = [
    ['peer', peerMac, ipOf(p.peerIp6)],
    ['gateway', gatewayMac, ipOf(p.gatewayIp6)],
    ['far', gatewayMac, ipOf(p.farIp6)],
  ] as const
  const frames: Frame[] = []
  for (const [name, dstMac, dst] of targets) {
    const add = (what: string, fields: Omit<Ip6, 'src' | 'dst'>) => {
      frames.push(
        plain(`${what} to ${name}`, ether(dstMac, mac, 0x86dd, ip6({ src, dst, ...fields }))),
      )
    }
    const payload = udp(src, dst, fill(100))
    const datagram = udp(src, dst, fill(2400))
    const piece = (from: number, to: number, more: number, id = 4): Octets => [
      ...[17, 0, ...u16(from | more), 1, 2, 3, id],
      ...datagram.slice(from, to),
    ]
    add('echo6', { next: 58, payload: icmp6(src, dst, 128, 0, [0x11, 0x22, 0, 1, ...fill(56)]) })
    add('UDP6', { next: 17, payload })
    add('SYN6', { next: 6, payload: tcp(src, dst, 2, []) })
    add('UDP6 with hop limit 1', { next: 17, payload, hops: 1 })
    add('hop-by-hop options', { next: 0, payload: [17, 0, 5, 2, 0, 0, 1, 0, ...payload] })
    add('destination options', { next: 60, payload: [17, 0, 1, 4, 0, 0, 0, 0, ...payload] })
    add('routing header', {
      next: 43,
      payload: [17, 2, 0, 1, 0, 0, 0, 0, ...ipOf(p.farIp6), ...payload],
    })
    add('unknown option', { next: 60, payload: [17, 0, 0xc3, 4, 0, 0, 0, 0, ...payload] })
    add('first fragment6', { next: 44, payload: piece(0, 1200, 1) })
    add('middle fragment6', { next: 44, payload: piece(1200, 1800, 1) })
    add('last fragment6', { next: 44, payload: piece(1800, 2408, 0) })
    add('first fragment6 of another', { next: 44, payload: piece(0, 1200, 1, 5) })
    add('overlapping fragment6', { next: 44, payload: piece(600, 1400, 1, 5) })
    add('atomic fragment6', { next: 44, payload: [17, 0, 0, 0, 9, 9, 9, 9, ...payload] })
    add('no next header', { next: 59, payload: [] })
    const quoted = ip6({ src: dst, dst: src, next: 17, payload: udp(dst, src, fill(8)) })
    add('too big6', { next: 58, payload: icmp6(src, dst, 2, 0, [0, 0, 5, 0, ...quoted]) })
    add('unreachable6', { next: 58, payload: icmp6(src, dst, 1, 4, [0, 0, 0, 0, ...quoted]) })
  }
  return frames
}

function oddFrames(p: Parties): Frame[] {
  const [mac, peerMac] = [macOf(p.mac), macOf(p.peerMac)]
  const [src, dst] = [ipOf(p.ip4), ipOf(p.peerIp4)]
  const ip = ip4({ src, dst, protocol: 17, payload: udp(src, dst, fill(64)) })
  const tag = (vid: number, inner: Octets): Octets => [...u16(vid), ...inner]
  return [
    plain('tagged', ether(peerMac, mac, 0x8100, tag(5, [8, 0, ...ip]))),
    plain('priority tagged', ether(peerMac, mac, 0x8100, tag(0x6000, [8, 0, ...ip]))),
    plain('tagged twice', ether(peerMac, mac, 0x8100, tag(5, [0x81, 0, 0, 6, 8, 0, ...ip]))),
    plain('provider tag', ether(peerMac, mac, 0x88a8, tag(5, [8, 0, ...ip]))),
    plain('cut tag', ether(peerMac, mac, 0x8100, [0])),
    plain('header alone', ether(peerMac, mac, 0x0800, [])),
    plain(
      'padded',
      ether(peerMac, mac, 0x0800, [...ip4({ src, dst, protocol: 17, payload: [] }), ...fill(26)]),
    ),
    plain('STP', ether([1, 0x80, 0xc2, 0, 0, 0], mac, 38, [0x42, 0x42, 3, ...fill(35)])),
    plain('LLDP', ether([1, 0x80, 0xc2, 0, 0, 14], mac, 0x88cc, fill(46))),
    plain('group source', ether(peerMac, [1, 0, 0x5e, 1, 2, 3], 0x0800, ip)),
    plain('foreign source', ether(peerMac, [2, 0, 0, 9, 9, 9], 0x0800, ip)),
    plain('nobody', ether([2, 0xee, 0xee, 0xee, 0xee, 0xee], mac, 0x0800, ip)),
    plain('experimental', ether(ALL_ONES, mac, 0x88b5, fill(100))),
  ]
}

/** Super-frames and partial checksums, as TAPs with offloads deliver them; some facts are lies. */
function superFrames(p: Parties): Frame[] {
  const [mac, peerMac, gatewayMac] = [macOf(p.mac), macOf(p.peerMac), macOf(p.gatewayMac)]
  const [src, peer, far] = [ipOf(p.ip4), ipOf(p.peerIp4), ipOf(p.farIp4)]
  const [src6, far6] = [ipOf(p.ip6), ipOf(p.farIp6)]
  const four = (dstMac: Octets, dst: Octets, protocol: 6 | 17, bytes: number): Octets => {
    const payload = protocol === 6 ? tcp(src, dst, 0x18, fill(bytes)) : udp(src, dst, fill(bytes))
    return ether(dstMac, mac, 0x0800, ip4({ src, dst, protocol, payload, fragment: 0x4000 }))
  }
  const six = (protocol: 6 | 17, bytes: number): Octets => {
    const payload =
      protocol === 6 ? tcp(src6, far6, 0x18, fill(bytes)) : udp(src6, far6, fill(bytes))
    return ether(gatewayMac, mac, 0x86dd, ip6({ src: src6, dst: far6, next: protocol, payload }))
  }
  const at4 = { ip: 14, transport: 34 }
  const at6 = { ip: 14, transport: 54 }
  const tso = { protocol: 6, gsoType: GsoType.TcpV4, gsoSize: 1448 } as const
  const uso = { protocol: 17, gsoType: GsoType.Udp, gsoSize: 1000 } as const
  const tso6 = { ...tso, gsoType: GsoType.TcpV6, gsoSize: 1428 } as const
  const csum = { protocol: 17, gsoType: 0, gsoSize: 0 } as const
  const honest = [
    offloaded('partial checksum', four(peerMac, peer, 17, 200), { ...at4, ...csum }),
    offloaded('partial checksum, routed', four(gatewayMac, far, 17, 200), { ...at4, ...csum }),
    offloaded('TSO to peer', four(peerMac, peer, 6, 9000), { ...at4, ...tso }),
    offloaded('TSO to far', four(gatewayMac, far, 6, 9000), { ...at4, ...tso }),
    offloaded('USO to peer', four(peerMac, peer, 17, 5000), { ...at4, ...uso }),
    offloaded('USO to far', four(gatewayMac, far, 17, 5000), { ...at4, ...uso }),
    offloaded('TSO6 to far', six(6, 9000), { ...at6, ...tso6 }),
    offloaded('USO6 to far', six(17, 5000), { ...at6, ...uso }),
  ]
  const lie = ({ what, bytes, facts }: Frame, change: Partial<FrameFacts>, how: string): Frame => ({
    what: `${what}, ${how}`,
    bytes,
    facts: { ...facts, ...change },
  })
  const [partial, , , tcpFar, , udpFar] = honest as [Frame, Frame, Frame, Frame, Frame, Frame]
  return [
    ...honest,
    lie(partial, { csumStart: 5000 }, 'checksum past the end'),
    lie(partial, { csumStart: 34, csumOffset: 60_000 }, 'field past the end'),
    lie(tcpFar, { gsoSize: 0 }, 'segments of nothing'),
    lie(tcpFar, { gsoSize: 1 }, 'segments of one octet'),
    lie(tcpFar, { gsoSize: 60_000 }, 'segments larger than the frame'),
    lie(tcpFar, { gsoType: GsoType.TcpV6 }, 'of the other family'),
    lie(tcpFar, { csumStart: 0 }, 'without a checksum'),
    lie(tcpFar, { csumStart: 20 }, 'checksum inside the IP header'),
    lie(udpFar, { gsoType: GsoType.TcpV4 }, 'called TCP'),
    lie(udpFar, { gsoType: 77 }, 'of no known kind'),
    lie(udpFar, { csumOffset: 16 }, 'with the field of TCP'),
  ]
}
