/**
 * Capture filters against libpcap's: the same frames and the same expressions to tcpdump and to
 * ours, and the same frames must come out. VLAN tags and IPv6 extension headers are left out, where
 * ours looks further on purpose (docs/capture.md).
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { parseFilter } from '../../services/capture/filter.ts'
import { parseAddress, putAddress } from '../../stack/address.ts'
import * as arp from '../../stack/arp/message.ts'
import { put16 } from '../../stack/bytes.ts'
import * as eth from '../../stack/eth/frame.ts'
import { type Mac, parseMac, putMac } from '../../stack/eth/mac.ts'
import { PcapngWriter } from '../../stack/eth/pcapng.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import { Random } from '../../stack/random.ts'
import { hasTool } from '../netns/lab.ts'

const FRAMES = 500
const EXPRESSIONS = 150

const random = new Random(20260101)
const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!

const MACS = ['02:00:00:00:00:0b', '02:00:00:00:00:0c', 'ff:ff:ff:ff:ff:ff', '33:33:00:00:00:01']
const IPV4 = ['10.1.0.11', '10.1.0.12', '10.2.0.12', '192.0.2.1', '224.0.0.1']
const IPV6 = ['fd00:1::11', 'fd00:1::12', 'fd00:2::12', 'fe80::1', 'ff02::1']
const PORTS = [22, 53, 80, 443, 33_434]
const PROTOCOLS = [1, 2, 6, 17, 47]
const PROTOCOLS6 = [6, 17, 58, 59]

function frame(): Uint8Array {
  const bytes = 60 + random.below(60)
  const mem = new Uint8Array(bytes)
  const macs: Mac[] = [parseMac(pick(MACS)), parseMac(pick(MACS.slice(0, 2)))]
  putMac(mem, eth.DST, macs[0]!)
  putMac(mem, eth.SRC, macs[1]!)
  const kind = random.below(8)
  const at = eth.HEADER_BYTES
  if (kind === 0) {
    eth.putType(mem, 0, 0x88cc)
  } else if (kind === 1) {
    eth.putType(mem, 0, eth.EtherType.Arp)
    arp.putMessage(mem, at, {
      operation: 1 + random.below(2),
      senderMac: macs[1]!,
      senderIp: 0,
      targetMac: macs[0]!,
      targetIp: 0,
    })
    putAddress(mem, at + arp.SPA, parseAddress(pick(IPV4)))
    putAddress(mem, at + arp.TPA, parseAddress(pick(IPV4)))
  } else if (kind < 5) {
    eth.putType(mem, 0, eth.EtherType.Ipv4)
    putAddress(mem, at + ipv4.SRC, parseAddress(pick(IPV4)))
    putAddress(mem, at + ipv4.DST, parseAddress(pick(IPV4)))
    const fragment = pick([0, 0, 0, ipv4.DONT_FRAGMENT, ipv4.MORE_FRAGMENTS, 5])
    const total = bytes - at
    const protocol = pick(PROTOCOLS)
    ipv4.putHeader(mem, at, { totalBytes: total, id: 1, fragment, ttl: 64, protocol })
    putPorts(mem, at + ipv4.HEADER_BYTES)
  } else {
    eth.putType(mem, 0, eth.EtherType.Ipv6)
    putAddress(mem, at + ipv6.SRC, parseAddress(pick(IPV6)))
    putAddress(mem, at + ipv6.DST, parseAddress(pick(IPV6)))
    const payloadBytes = bytes - at - ipv6.HEADER_BYTES
    ipv6.putHeader(mem, at, { payloadBytes, next: pick(PROTOCOLS6), hopLimit: 64 })
    putPorts(mem, at + ipv6.HEADER_BYTES)
  }
  return mem
}

function putPorts(mem: Uint8Array, at: number): void {
  put16(mem, at, pick(PORTS))
  put16(mem, at + 2, pick(PORTS))
}

function primitive(): string {
  const direction = pick(['', '', 'src ', 'dst ', 'src or dst ', 'src and dst '])
  const transport = pick(['', '', 'tcp ', 'udp '])
  const first = pick(PORTS)
  switch (random.below(11)) {
    case 0:
      return pick(['arp', 'ip', 'ip6', 'icmp', 'icmp6', 'tcp', 'udp'])
    case 1:
      return `${direction}host ${pick([...IPV4, ...IPV6])}`
    case 2:
      return pick(IPV4)
    case 3:
      return `${direction}net ${pick(['10.1.0.0/16', '10.1.0.8/29', '0.0.0.0/0', 'fd00:1::/32'])}`
    case 4:
      return `${transport}${direction}port ${first}`
    case 5:
      return `${transport}${direction}portrange ${first}-${first + random.below(500)}`
    case 6:
      return `ether ${pick(['src', 'dst', 'host'])} ${pick(MACS)}`
    case 7:
      return pick(['ether broadcast', 'ether multicast', 'broadcast', 'multicast'])
    case 8:
      return pick(['ip proto 47', 'ip6 proto 59', 'ip proto 6', 'ether proto 0x88cc'])
    case 9:
      return `${pick(['less', 'greater'])} ${60 + random.below(60)}`
    default:
      return `port ${first} or ${pick(PORTS)}`
  }
}

function expression(depth: number): string {
  if (depth === 0) return primitive()
  switch (random.below(4)) {
    case 0:
      return `not ${expression(depth - 1)}`
    case 1:
      return `( ${expression(depth - 1)} )`
    default:
      return `${expression(depth - 1)} ${pick(['and', 'or', '&&', '||'])} ${expression(depth - 1)}`
  }
}

describe('capture filters and libpcap', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tapline-filter-'))
  const file = join(folder, 'frames.pcapng')
  const frames = Array.from({ length: FRAMES }, frame)
  const blocks: Uint8Array[] = []
  const writer = new PcapngWriter({ write: (bytes) => blocks.push(bytes) })
  writer.addInterface('lab')
  // The time of a frame is its number.
  for (const [i, mem] of frames.entries()) writer.packet(0, mem, 0, mem.length, i * 1e6, 'in')
  writeFileSync(file, Buffer.concat(blocks))

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** Numbers of the frames that tcpdump takes; undefined: it does not understand. */
  function ask(text: string): number[] | undefined {
    const { status, stdout, stderr } = spawnSync('tcpdump', ['-tt', '-qn', '-r', file, text], {
      encoding: 'utf8',
    })
    if (stderr.includes('expression rejects all packets')) return []
    if (status !== 0) return undefined
    return [...stdout.matchAll(/^(\d+)\.\d{6} /gm)].map(([, second]) => Number(second))
  }

  it.runIf(hasTool('tcpdump', 'tcpdump'))('take the same frames', () => {
    let [refused, matched] = [0, 0]
    for (let i = 0; i < EXPRESSIONS; i++) {
      const text = expression(random.below(4))
      const theirs = ask(text)
      // Their grammar stumbles over a bare address before `and`; ours may understand more.
      if (theirs === undefined) {
        refused++
        continue
      }
      const wanted = parseFilter(text)
      const ours = [...frames.keys()].filter((n) => wanted(frames[n]!, 0, frames[n]!.length))
      expect({ text, frames: ours }).toEqual({ text, frames: theirs })
      if (ours.length > 0 && ours.length < FRAMES) matched++
    }
    // Most of them tell frames apart: else this would show little.
    expect(matched).toBeGreaterThan(EXPRESSIONS / 2)
    expect(refused).toBeLessThan(EXPRESSIONS / 5)
  })
})
