/** Capture filters against hand-made frames, and against garbage. */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Dissection } from '../../services/capture/dissect.ts'
import { parseFilter } from '../../services/capture/filter.ts'
import { summarize } from '../../services/capture/summary.ts'
import { StackError } from '../../stack/errors.ts'

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/[\s|]/g, ''), 'hex'))
}

const MACS = '02000000000c 02000000000b'
const frames = {
  arp: hex(
    'ffffffffffff 02000000000b 0806 0001080006040001 02000000000b 0a01000b 000000000000 0a01000c',
  ),
  arpReply: hex(`${MACS} 0806 0001080006040002 02000000000b 0a01000b 02000000000c 0a01000c`),
  ping: hex(`${MACS} 0800 4500001c000000004001 66b5 0a01000b 0a01000c 0800 f7fd 0001 0002`),
  tcp: hex(
    `${MACS} 0800 450000280000400040060000 0a01000b 0a02000c c000 0050
     00000001 00000000 5002 faf0 0000 0000`,
  ),
  udpTagged: hex(
    `${MACS} 8100 000a 0800 4500001d000000004011 0000 0a01000b 0a01000c 0035 1234 0009 0000 61`,
  ),
  fragment: hex(
    `${MACS} 0800 450000200007 2005 40110000 0a01000b 0a01000c 0102030405060708 090a0b0c`,
  ),
  ns: hex(
    `3333ff00000c 02000000000b 86dd 60000000 0018 3a ff fd000001000000000000000000000011
     ff0200000000000000000001ff00000c 8700 0000 00000000 fd00000100000000000000000000000c`,
  ),
  udp6Extension: hex(
    `${MACS} 86dd 60000000 0010 00 40 fd000001000000000000000000000011
     fd000002000000000000000000000012
     11 00 000000000000 0035 0035 0008 0000`,
  ),
  lldp: hex('0180c200000e 02000000000b 88cc 0207'),
}
type FrameName = keyof typeof frames

function matching(filter: string): FrameName[] {
  const wanted = parseFilter(filter)
  return (Object.keys(frames) as FrameName[]).filter((name) => {
    // Somewhere inside larger memory, as in a pool.
    const mem = new Uint8Array(4096).fill(0xa5)
    mem.set(frames[name], 100)
    return wanted(mem, 100, frames[name].length)
  })
}

const EVERY = Object.keys(frames) as FrameName[]
const IPV4: FrameName[] = ['ping', 'tcp', 'udpTagged', 'fragment']

describe('capture filters', () => {
  it.each<[string, FrameName[]]>([
    ['', EVERY],
    ['arp', ['arp', 'arpReply']],
    ['ip', IPV4],
    ['ip6', ['ns', 'udp6Extension']],
    ['icmp', ['ping']],
    ['icmp6', ['ns']],
    ['tcp', ['tcp']],
    ['udp', ['udpTagged', 'fragment', 'udp6Extension']],
    ['vlan', ['udpTagged']],
    ['vlan 10', ['udpTagged']],
    ['vlan 11', []],
    ['broadcast', ['arp']],
    ['ether multicast', ['arp', 'ns', 'lldp']],
    ['ether proto 0x88cc', ['lldp']],
    ['ether proto arp', ['arp', 'arpReply']],
    ['ip proto 17', ['udpTagged', 'fragment']],
    ['proto udp', ['udpTagged', 'fragment', 'udp6Extension']],
    ['host 10.1.0.12', ['arp', 'arpReply', 'ping', 'udpTagged', 'fragment']],
    ['10.2.0.12', ['tcp']],
    ['src host 10.1.0.12', []],
    ['src 10.1.0.11', ['arp', 'arpReply', ...IPV4]],
    ['dst 10.1.0.12 and ip', ['ping', 'udpTagged', 'fragment']],
    ['src or dst 10.2.0.12', ['tcp']],
    ['src and dst 10.1.0.11', []],
    ['host fd00:1::11', ['ns', 'udp6Extension']],
    ['dst host fd00:2::12', ['udp6Extension']],
    ['net 10.2.0.0/16', ['tcp']],
    ['dst net 10.1.0.8/29', ['arp', 'arpReply', 'ping', 'udpTagged', 'fragment']],
    ['net 0.0.0.0/0', ['arp', 'arpReply', ...IPV4]],
    ['net fd00:2::/32', ['udp6Extension']],
    ['net fd00:3::/33', []],
    ['ether src 02:00:00:00:00:0b', EVERY],
    ['ether host 02:00:00:00:00:0c', ['arpReply', ...IPV4, 'udp6Extension']],
    ['ether dst 01:80:c2:00:00:0e', ['lldp']],
    ['port 80', ['tcp']],
    ['tcp port 80', ['tcp']],
    ['udp port 80', []],
    ['dst port 53', ['udp6Extension']],
    ['src port 53', ['udpTagged', 'udp6Extension']],
    ['port 80 or 53', ['tcp', 'udpTagged', 'udp6Extension']],
    ['udp src port 53 or 49152', ['udpTagged', 'udp6Extension']],
    ['portrange 50-60', ['udpTagged', 'udp6Extension']],
    ['tcp portrange 50-80', ['tcp']],
    ['less 16', ['lldp']],
    ['greater 60', ['ns', 'udp6Extension']],
    ['not ip and not ip6', ['arp', 'arpReply', 'lldp']],
    ['! (ip or ip6)', ['arp', 'arpReply', 'lldp']],
    ['not not arp', ['arp', 'arpReply']],
    ['tcp host 10.1.0.11', ['tcp']],
    // Equal precedence from left to right, as pcap-filter(7) says: (arp or ip) and tcp.
    ['arp or ip and tcp', ['tcp']],
    ['arp || ( ip && tcp )', ['arp', 'arpReply', 'tcp']],
  ])('%s', (filter, expected) => {
    expect(matching(filter)).toEqual(EVERY.filter((name) => expected.includes(name)))
  })

  it.each([
    ['host', 'expected a value at its end'],
    ['tcp tcp', 'expected "and", "or" or the end at "tcp" (5)'],
    ['port 70000', 'not a port number at "70000" (6)'],
    ['portrange 9-1', 'not FIRST-LAST at "9-1" (11)'],
    ['port http', 'expected a value at "http" (6)'],
    ['icmp port 7', '"icmp" has no ports; tcp and udp have at "7" (11)'],
    ['( arp', 'expected ")" at its end'],
    ['arp and', 'expected a keyword or a value at its end'],
    ['stp', 'expected a keyword or a value at "stp" (1)'],
    ['net 10.1', '"10.1" is not an IPv4 or IPv6 address at "10.1" (5)'],
    ['net 10.1.0.0/33', '"10.1.0.0/33": at most /32 at "10.1.0.0/33" (5)'],
    ['ether net 10.1.0.0/16', 'a net is ADDRESS/BITS of IP, without "ether"'],
    ['ether host 10.1.0.11', '"10.1.0.11" is not a MAC address'],
    ['vlan 4096', 'expected a number up to 4095 at "4096" (6)'],
    ['tcp broadcast', '"tcp broadcast" is not supported'],
    ['proto 300', 'not an IP protocol'],
    ['arp & ip', 'expected "and", "or" or the end at "&" (5)'],
    [`${'('.repeat(100)}arp${')'.repeat(100)}`, 'nested too deep'],
    [' '.repeat(5000), 'longer than 4096 characters'],
  ])('refuses %s', (filter, message) => {
    expect(() => parseFilter(filter)).toThrow(StackError)
    expect(() => parseFilter(filter)).toThrow(message)
  })

  it('never throws anything but StackError, whatever the text', async () => {
    const words = fc.constantFrom(
      ...['and', 'or', 'not', '(', ')', '!', '&&', '||', 'src', 'dst', 'host', 'net', 'port'],
      ...['ether', 'proto', 'vlan', 'tcp', 'arp', '10.1.0.1', '::1', '80', '1-2', 'x', '/', ''],
    )
    const text = fc.oneof(
      fc.string(),
      fc.array(words, { maxLength: 20 }).map((list) => list.join(' ')),
    )
    await fc.assert(
      fc.property(text, (filter) => {
        try {
          const wanted = parseFilter(filter)
          for (const frame of Object.values(frames)) wanted(frame, 0, frame.length)
        } catch (error) {
          expect(error).toBeInstanceOf(StackError)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('dissection and summary', () => {
  it('are total: truncated at every length, mutated, and random', async () => {
    const wanted = parseFilter('tcp port 80 or net fd00::/8 or arp or vlan 3 or host 10.1.0.1')
    for (const frame of Object.values(frames)) {
      for (let bytes = 0; bytes <= frame.length; bytes++) {
        wanted(frame, 0, bytes)
        expect(summarize(frame.slice(0, bytes), 0, bytes)).not.toBe('')
      }
    }
    await fc.assert(
      fc.property(
        fc.constantFrom(...Object.values(frames)),
        fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 8 }),
        (frame, edits) => {
          const copy = frame.slice()
          for (const [at, value] of edits) if (at < copy.length) copy[at] = value
          wanted(copy, 0, copy.length)
          summarize(copy, 0, copy.length)
        },
      ),
      { numRuns: 2000 },
    )
    await fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (octets) => {
        wanted(octets, 0, octets.length)
        summarize(octets, 0, octets.length)
      }),
      { numRuns: 2000 },
    )
  })

  it.each<[FrameName, string]>([
    ['arp', 'ARP, Request who-has 10.1.0.12 tell 10.1.0.11, length 28'],
    ['arpReply', 'ARP, Reply 10.1.0.11 is-at 02:00:00:00:00:0b, length 28'],
    ['ping', 'IP 10.1.0.11 > 10.1.0.12: ICMP echo request, id 1, seq 2, length 8'],
    ['tcp', 'IP 10.1.0.11.49152 > 10.2.0.12.80: Flags [S], seq 1, win 64240, length 0'],
    ['udpTagged', 'vlan 10, IP 10.1.0.11.53 > 10.1.0.12.4660: UDP, length 1'],
    ['fragment', 'IP 10.1.0.11 > 10.1.0.12: proto 17 (fragment 7, offset 40+)'],
    [
      'ns',
      'IP6 fd00:1::11 > ff02::1:ff00:c: ICMP6, neighbor solicitation, target fd00:1::c, length 24',
    ],
    ['udp6Extension', 'IP6 fd00:1::11.53 > fd00:2::12.53: UDP, length 0'],
    ['lldp', '02:00:00:00:00:0b > 01:80:c2:00:00:0e, ethertype 0x88cc, length 16'],
  ])('%s reads %s', (name, expected) => {
    expect(summarize(frames[name], 0, frames[name].length)).toBe(expected)
  })

  it('finds the ports behind extension headers and not in later fragments', () => {
    const frame = new Dissection()
    frame.read(frames.udp6Extension, 0, frames.udp6Extension.length)
    expect([frame.protocol, frame.srcPort, frame.dstPort]).toEqual([17, 53, 53])
    frame.read(frames.fragment, 0, frames.fragment.length)
    expect([frame.protocol, frame.srcPort, frame.fragment]).toEqual([17, -1, true])
  })
})
