/**
 * Two translators in equal surroundings, the kernel's and ours, and hands on their ends:
 *
 *   in1 10.1.0.11 --- front \                  / 203.0.113.1, a gateway,
 *                            translator --- out
 *   in2 10.2.0.22 --- back  /                  \ and all the world behind it
 *
 * The kernels at the ends resolve neighbors and drop everything else before it is looked at, so
 * that nobody but the test speaks.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inNetns } from '../../../stack/native/netns.ts'
import type { Lab } from '../lab.ts'
import { PacketSocket } from '../packet_socket.ts'

export const STATIONS = ['in1', 'in2', 'out'] as const
export type StationName = (typeof STATIONS)[number]

/** One end: what is sent there goes to the translator, what is received there came from it. */
export interface Station {
  readonly socket: PacketSocket
  readonly mac: Uint8Array
  readonly gatewayMac: Uint8Array
}

export interface Bed {
  readonly name: 'kernel' | 'ours'
  readonly stations: Readonly<Record<StationName, Station>>
}

export const INSIDE = {
  in1: { 4: '10.1.0.11', 6: 'fd00:1::11' },
  in2: { 4: '10.2.0.22', 6: 'fd00:2::22' },
} as const
export const GATEWAYS = {
  in1: { 4: '10.1.0.1', 6: 'fd00:1::1' },
  in2: { 4: '10.2.0.1', 6: 'fd00:2::1' },
  out: { 4: '203.0.113.2', 6: '2001:db8::2' },
} as const
/** The translator's address outside, and the station's there. */
export const EXTERNAL: (typeof GATEWAYS)['out'] = GATEWAYS.out
export const OUTSIDE = { 4: '203.0.113.1', 6: '2001:db8::1' } as const

/** What is published, for both families; sandbox ports of the range are the same. */
export const PUBLISHED = [
  { station: 'in2', protocol: 'tcp', port: 8080, target: 80 },
  { station: 'in1', protocol: 'tcp', port: 8081, target: 81 },
  { station: 'in1', protocol: 'udp', port: 5353, target: 53 },
  { station: 'in2', protocol: 'udp', port: 9000, target: 9000 },
  { station: 'in2', protocol: 'udp', port: 9003, target: 9003 },
] as const

const SILENCE = `table inet silence {
  chain everything {
    type filter hook prerouting priority raw
    icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
    drop
  }
}
`

/** As Docker writes them: only what is published or answers comes in, and nothing invalid. */
function rules(): string {
  const mappings = PUBLISHED.filter(({ port }) => port < 9000).flatMap((mapping) =>
    ([4, 6] as const).map((family) => {
      const { station, protocol, port, target } = mapping
      const to = INSIDE[station][family]
      const goal = family === 4 ? `${to}:${target}` : `[${to}]:${target}`
      return `${at(family)} ${protocol} dport ${port} dnat ${ipOf(family)} to ${goal}`
    }),
  )
  const range = ([4, 6] as const).map(
    (family) => `${at(family)} udp dport 9000-9003 dnat ${ipOf(family)} to ${INSIDE.in2[family]}`,
  )
  return `table inet nat {
    chain pre { type nat hook prerouting priority dstnat
      ${[...mappings, ...range].join('\n      ')}
    }
    chain post { type nat hook postrouting priority srcnat
      oifname "out" masquerade
    }
    chain forward { type filter hook forward priority filter
      ct state invalid drop
      ct state established,related accept
      iifname "out" ct status dnat accept
      iifname "out" drop
    }
  }`
}

function ipOf(family: 4 | 6): string {
  return family === 4 ? 'ip' : 'ip6'
}

function at(family: 4 | 6): string {
  return `${ipOf(family)} daddr ${EXTERNAL[family]}`
}

/** Everything on, no limits; the reverse path is looked at strictly. */
const SYSCTLS = [
  'net.ipv4.ip_forward=1',
  'net.ipv6.conf.all.forwarding=1',
  'net.ipv4.conf.all.rp_filter=1',
  'net.ipv4.conf.all.send_redirects=0',
  'net.ipv4.icmp_ratelimit=0',
  'net.ipv6.icmp.ratelimit=0',
]

function ip(netns: string, ...args: string[]): string {
  return execFileSync('ip', ['-n', netns, ...args], { encoding: 'utf8' })
}

function exec(netns: string, ...command: string[]): string {
  return execFileSync('ip', ['netns', 'exec', netns, ...command], { encoding: 'utf8' })
}

/** The kernel's, in namespaces `k-...` of the lab. */
export function kernelBed(lab: Lab): Bed {
  const middle = lab.ns('k-mid')
  execFileSync('ip', ['netns', 'add', middle])
  ip(middle, 'link', 'set', 'lo', 'up')
  exec(middle, 'sysctl', '-qw', ...SYSCTLS)
  for (const name of STATIONS) {
    const end = lab.ns(`k-${name}`)
    execFileSync('ip', ['netns', 'add', end])
    const pair = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', end]
    ip(middle, 'link', 'add', 'dev', name, ...pair)
    const near = GATEWAYS[name]
    const far = name === 'out' ? OUTSIDE : INSIDE[name]
    ip(middle, 'addr', 'add', `${near[4]}/24`, 'dev', name)
    ip(middle, 'addr', 'add', `${near[6]}/64`, 'dev', name, 'nodad')
    ip(end, 'addr', 'add', `${far[4]}/24`, 'dev', 'eth0')
    ip(end, 'addr', 'add', `${far[6]}/64`, 'dev', 'eth0', 'nodad')
    ip(middle, 'link', 'set', name, 'up')
    ip(end, 'link', 'set', 'eth0', 'up')
  }
  ip(middle, 'route', 'add', 'default', 'via', OUTSIDE[4])
  ip(middle, '-6', 'route', 'add', 'default', 'via', OUTSIDE[6])
  const file = join(lab.folder, 'nat.nft')
  writeFileSync(file, rules())
  exec(middle, 'nft', '-f', file)
  const stations = STATIONS.map((name) => [name, station(lab, `k-${name}`, name, 'eth0')] as const)
  return { name: 'kernel', stations: Object.fromEntries(stations) as unknown as Bed['stations'] }
}

/** A node's file with the same networks, ports and uplink. */
function nodeFile(lab: Lab): string {
  const ports = (station: 'in1' | 'in2'): string => {
    const own = PUBLISHED.filter((one) => one.station === station && one.port < 9000)
    const list = own.map(({ port, target, protocol }) => `"${port}:${target}/${protocol}"`)
    if (station === 'in2') list.push('"9000-9003:9000-9003/udp"')
    return list.join(', ')
  }
  const sandbox = (name: 'in1' | 'in2', network: string): string => `
  ${name}:
    netns: ${lab.ns(`o-${name}`)}
    networks:
      ${network}: { ipv4_address: ${INSIDE[name][4]}, ipv6_address: "${INSIDE[name][6]}" }
    ports: [ ${ports(name)} ]`
  const network = (name: string, n: number): string => `
  ${name}:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.${n}.0.0/24 }, { subnet: "fd00:${n}::/64" } ] }`
  return `name: ${lab.prefix}
networks:${network('front', 1)}${network('back', 2)}
sandboxes:${sandbox('in1', 'front')}${sandbox('in2', 'back')}
uplink:
  netns: ${lab.ns('o-out')}
  addresses: [ ${EXTERNAL[4]}/24, "${EXTERNAL[6]}/64" ]
  peer_addresses: [ ${OUTSIDE[4]}/24, "${OUTSIDE[6]}/64" ]
  gateway: [ ${OUTSIDE[4]}, "${OUTSIDE[6]}" ]
`
}

/** A node of ours, started for it. */
export async function ourBed(lab: Lab): Promise<Bed> {
  await lab.up(nodeFile(lab))
  const stations = STATIONS.map((name) => {
    return [name, station(lab, `o-${name}`, name, name === 'out' ? 'tapline0' : 'eth0')] as const
  })
  return { name: 'ours', stations: Object.fromEntries(stations) as unknown as Bed['stations'] }
}

function station(lab: Lab, end: string, name: StationName, link: string): Station {
  const netns = lab.ns(end)
  const shown = ip(netns, '-o', 'link', 'show', link)
  const [, index, mac] = /^(\d+):.*link\/ether (\S+)/s.exec(shown)!
  for (const gateway of Object.values(GATEWAYS[name])) resolve(netns, gateway)
  const gatewayMac = /lladdr (\S+)/.exec(ip(netns, 'neigh', 'show', GATEWAYS[name][4]))![1]!
  const file = join(lab.folder, 'silence.nft')
  writeFileSync(file, SILENCE)
  exec(netns, 'nft', '-f', file)
  const socket = inNetns(netns, () => new PacketSocket(Number(index)))
  return { socket, mac: macOf(mac!), gatewayMac: macOf(gatewayMac) }
}

/** Both sides know each other's MAC after it. */
function resolve(netns: string, gateway: string): void {
  exec(netns, 'ping', '-c1', '-w5', gateway)
}

function macOf(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (octet) => Number.parseInt(octet, 16))
}
