/** Policies: which flows are admitted, what belongs to them, and what becomes of them. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { contains, parseAddress } from '../../stack/address.ts'
import { PolicyFlows, Way } from '../../stack/ip/policy_flows.ts'
import { type PolicyRules, RuleList } from '../../stack/ip/policy_rules.ts'
import { SRC } from '../../stack/ip/tuple.ts'
import { Trace } from '../../stack/trace.ts'
import { echo4, echo6, frame, HOST_MAC, icmp6, ip4, ip6, tcp, udp } from './lab.ts'
import { CLOSED, PORT, PolicyLab, rules, tupleOf } from './policy_lab.ts'

const FIN = 1
const SYN = 2
const RST = 4
const ACK = 16
const ENDS = {
  4: { own: '10.1.0.11', far: '10.2.0.22', other: '10.3.0.33' },
  6: { own: 'fd00:1::11', far: 'fd00:2::22', other: 'fd00:3::33' },
} as const
const FAMILIES = [4, 6] as const
const EMPTY = new Uint8Array(0)

/** Packets from the endpoint to its far end, and back. */
function packets(family: 4 | 6) {
  const { own, far } = ENDS[family]
  const out = { from: own, to: far }
  const back = { from: far, to: own }
  const reply = (ip: Uint8Array): Uint8Array => {
    const at = ip[0]! >>> 4 === 6 ? 40 : 20
    ip[at] = at === 40 ? 129 : 0
    return ip
  }
  const echo = family === 4 ? echo4 : echo6
  return {
    datagram: (port = 53) => udp(out, { from: 5000, to: port }, EMPTY),
    answer: (port = 53) => udp(back, { from: port, to: 5000 }, EMPTY),
    ask: (port = 80) => udp(back, { from: 6000, to: port }, EMPTY),
    segment: (flags: number, seq = 0, ack = 0) =>
      tcp(out, { from: 5000, to: 80, flags, seq, ack }, EMPTY),
    segmentBack: (flags: number, seq = 0, ack = 0) =>
      tcp(back, { from: 80, to: 5000, flags, seq, ack }, EMPTY),
    echo: () => echo(out, EMPTY),
    echoReply: () => reply(echo(back, EMPTY)),
    echoBack: () => echo(back, EMPTY),
    /** An unreachable port, told by whoever `from` is, about `about`. */
    error: (from: string, to: string, about: Uint8Array) => {
      const message = new Uint8Array(8 + about.length)
      message.set(about, 8)
      if (family === 6) return icmp6({ from, to }, message.with(0, 1).with(1, 4))
      return ip4({ from, to, protocol: 1 }, message.with(0, 3).with(1, 3))
    },
  }
}

describe('a list of rules', () => {
  const addresses = ['10.1.0.1', '10.1.0.200', '10.2.0.1', '192.0.2.7', 'fd00:1::1', '2001:db8::1']
  const prefixes = ['10.1.0.0/25', '10.0.0.0/8', '0.0.0.0/0', '::/0', 'fd00::/8', '10.2.0.1/32']
  const part = fc.tuple(
    fc.constantFrom('allow', 'deny'),
    fc.constantFrom('any', 'tcp', 'udp', 'icmp'),
    fc.oneof(
      fc.constant('-'),
      fc.uniqueArray(fc.constantFrom(...prefixes), { minLength: 1 }).map((list) => list.join(',')),
    ),
    fc.constantFrom('', '80', '80-90', '1-79,91-65535', '8080,80'),
  )
  const spec = fc
    .tuple(fc.array(part, { maxLength: 6 }), fc.constantFrom('allow', 'deny'))
    .map(([parts, last]) => rules(...parts.map((words) => words.join(' ').trim()), last))
  const packet = fc.record({
    from: fc.constantFrom(...addresses),
    protocol: fc.constantFrom(1, 6, 17, 58, 47),
    port: fc.constantFrom(0, 79, 80, 90, 91, 8080),
  })

  /** The same by the words of the documentation, one condition after the other. */
  function naive(list: PolicyRules, o: { from: string; protocol: number; port: number }): number {
    return list.rules.findIndex(({ far, protocols, ports }) => {
      const near = far.length === 0 || far.some((prefix) => contains(prefix, parseAddress(o.from)))
      const spoken = protocols.length === 0 || protocols.includes(o.protocol)
      const port = ports.length === 0 || ports.some((r) => r.first <= o.port && o.port <= r.last)
      return near && spoken && port
    })
  }

  it('says what a plain reading of it says', () => {
    fc.assert(
      fc.property(spec, packet, (list, o) => {
        const asked = new RuleList(list, SRC)
        const to = o.from.includes(':') ? 'fd00:9::9' : '10.9.0.9'
        const index = asked.match(tupleOf({ ...o, to }), true)
        expect(index).toBe(naive(list, o))
        const allowed = index < 0 ? list.otherwise : list.rules[index]!.allow
        expect(asked.allows(index)).toBe(allowed)
      }),
      { numRuns: 3000 },
    )
  })

  it('never lets more through when ports are not known than for the worst port', () => {
    fc.assert(
      fc.property(spec, packet, (list, o) => {
        const asked = new RuleList(list, SRC)
        const to = o.from.includes(':') ? 'fd00:9::9' : '10.9.0.9'
        const all = [0, 1, 79, 80, 85, 90, 91, 8080, 65_535].map((port) =>
          asked.allows(asked.match(tupleOf({ ...o, port, to }), true)),
        )
        if (asked.allows(asked.match(tupleOf({ ...o, to }), false)))
          expect(all).not.toContain(false)
      }),
      { numRuns: 3000 },
    )
  })
})

describe.each(FAMILIES)('a flow over IPv%i', (family) => {
  const { own, far, other } = ENDS[family]
  const of = packets(family)

  it('passes with its answers, and nothing else does', () => {
    const lab = new PolicyLab(CLOSED)
    expect(lab.gets(of.answer())).toBe('policy-denied')
    expect(lab.sends(of.datagram())).toBe('passes')
    expect(lab.gets(of.answer())).toBe('passes')
    expect(lab.gets(of.answer(54))).toBe('policy-denied')
    expect(lab.gets(of.ask())).toBe('policy-denied')
    lab.pass(29_000)
    expect(lab.gets(of.answer())).toBe('passes')
    lab.pass(31_000)
    expect(lab.gets(of.answer())).toBe('policy-denied')
    lab.end()
  })

  it('is an echo only by requests, and their replies', () => {
    const lab = new PolicyLab(CLOSED)
    expect(lab.gets(of.echoReply())).toBe('policy-denied')
    expect(lab.sends(of.echo())).toBe('passes')
    expect(lab.gets(of.echoReply())).toBe('passes')
    expect(lab.gets(of.echoBack())).toBe('policy-denied')
    lab.end()
  })

  it('has errors about it, from whoever finds one, to who sent it', () => {
    const lab = new PolicyLab(CLOSED)
    const asked = of.datagram()
    expect(lab.gets(of.error(other, own, asked))).toBe('policy-denied')
    expect(lab.sends(asked)).toBe('passes')
    expect(lab.gets(of.error(other, own, asked))).toBe('passes')
    expect(lab.gets(of.error(far, own, of.datagram(54)))).toBe('policy-denied')
    // What it quotes was never sent by the endpoint: it is an answer.
    expect(lab.gets(of.error(far, own, of.answer()))).toBe('policy-denied')
    lab.end()
  })

  it('of TCP in its middle is admitted if either end might have begun it', () => {
    const lab = new PolicyLab(CLOSED)
    expect(lab.sends(of.segment(ACK))).toBe('policy-denied')
    expect(lab.gets(of.segmentBack(ACK))).toBe('policy-denied')
    lab.policy.set({ egress: rules('allow'), ingress: rules('allow tcp - 5000', 'deny') })
    expect(lab.sends(of.segment(ACK))).toBe('passes')
    expect(lab.gets(of.segmentBack(ACK))).toBe('passes')
    lab.end()
  })

  it('that is over begins anew from the other end only by the rules', () => {
    const lab = new PolicyLab(CLOSED)
    expect(lab.sends(of.segment(SYN, 10))).toBe('passes')
    expect(lab.gets(of.segmentBack(SYN | ACK, 90, 11))).toBe('passes')
    expect(lab.sends(of.segment(ACK, 11, 91))).toBe('passes')
    expect(lab.sends(of.segment(FIN | ACK, 11, 91))).toBe('passes')
    expect(lab.gets(of.segmentBack(FIN | ACK, 91, 12))).toBe('passes')
    expect(lab.sends(of.segment(ACK, 12, 92))).toBe('passes')
    expect(lab.gets(of.segmentBack(SYN, 900))).toBe('policy-denied')
    expect(lab.sends(of.segment(SYN, 5000))).toBe('passes')
    expect(lab.gets(of.segmentBack(SYN | ACK, 7000, 5001))).toBe('passes')
    lab.end()
  })

  it('passes whatever windows say, and lives as long as its state', () => {
    const lab = new PolicyLab(CLOSED)
    lab.sends(of.segment(SYN, 10))
    lab.gets(of.segmentBack(SYN | ACK, 90, 11))
    lab.sends(of.segment(ACK, 11, 91))
    expect(lab.gets(of.segmentBack(ACK, 0x7000_0000, 11))).toBe('passes')
    lab.pass(3_600_000)
    expect(lab.gets(of.segmentBack(ACK, 91, 11))).toBe('passes')
    expect(lab.sends(of.segment(RST, 11, 91))).toBe('passes')
    lab.pass(12_000)
    expect(lab.gets(of.segmentBack(ACK, 91, 11))).toBe('policy-denied')
    lab.end()
  })

  it('does not mind padding', () => {
    const lab = new PolicyLab(CLOSED)
    const padded = (ip: Uint8Array) => {
      const bytes = new Uint8Array(14 + ip.length + 40)
      bytes.set(frame(HOST_MAC, ip))
      return bytes
    }
    lab.sends(of.segment(SYN, 10))
    lab.gets(of.segmentBack(SYN | ACK, 90, 11))
    lab.sends(of.segment(ACK, 11, 91))
    const flow = lab.flows.table.nextLive(0)
    const before = lab.flows.table.octets(flow)
    const bytes = padded(of.segment(ACK, 11, 91))
    expect(
      lab.give(
        lab.policy.egress((packet) => lab.pool.free(packet)),
        bytes,
      ),
    ).toBeUndefined()
    expect(lab.flows.table.octets(flow) - before).toBe(family === 4 ? 40 : 60)
    lab.end()
  })

  it('that new rules deny ends, and others go on', () => {
    const lab = new PolicyLab({ egress: rules('allow'), ingress: rules('allow udp', 'deny') })
    expect(lab.gets(of.ask(80))).toBe('passes')
    expect(lab.gets(of.ask(81))).toBe('passes')
    expect(lab.sends(of.datagram())).toBe('passes')
    const { epoch } = lab.pool.notes
    lab.policy.set({ egress: rules('allow'), ingress: rules('allow udp - 81', 'deny') })
    expect(lab.pool.notes.epoch).not.toBe(epoch)
    expect(lab.flows.count).toBe(2)
    expect(lab.gets(of.ask(80))).toBe('policy-denied')
    expect(lab.gets(of.ask(81))).toBe('passes')
    expect(lab.gets(of.answer())).toBe('passes')
    lab.end()
  })
})

describe('fragments', () => {
  const { own, far } = ENDS[4]
  const first = (to: number) => {
    const whole = udp({ from: far, to: own }, { from: 6000, to }, new Uint8Array(16))
    return ip4({ from: far, to: own, id: 77, fragment: 0x2000 }, whole.slice(20))
  }
  const later = (id = 77) => ip4({ from: far, to: own, id, fragment: 3 }, new Uint8Array(8))
  const spec = { egress: rules('allow'), ingress: rules('allow udp - 80', 'deny') }

  it('go as their first did', () => {
    const lab = new PolicyLab(spec)
    expect(lab.gets(later())).toBe('policy-denied')
    expect(lab.gets(first(80))).toBe('passes')
    expect(lab.gets(later())).toBe('passes')
    expect(lab.gets(later(78))).toBe('policy-denied')
    lab.policy.set({ egress: rules('allow'), ingress: rules('deny') })
    expect(lab.gets(later())).toBe('policy-denied')
    lab.end()
  })

  it('of what is denied do not pass', () => {
    const lab = new PolicyLab(spec)
    expect(lab.gets(first(81))).toBe('policy-denied')
    expect(lab.gets(later())).toBe('policy-denied')
    lab.end()
  })

  it('are not those of another endpoint', () => {
    const lab = new PolicyLab(spec)
    expect(lab.gets(first(80))).toBe('passes')
    expect(lab.sends(later())).toBe('passes')
    lab.policy.set({ egress: rules('deny'), ingress: spec.ingress })
    expect(lab.sends(later())).toBe('policy-denied')
    lab.end()
  })
})

describe('what a link needs', () => {
  const shut = { egress: rules('deny'), ingress: rules('deny') }
  const ethernet = (type: number, bytes = 46) => {
    const packet = frame(HOST_MAC, new Uint8Array(bytes))
    packet.set([type >>> 8, type & 255], 12)
    return packet
  }
  const message6 = (type: number, hops: number, to = 'ff02::1') =>
    icmp6({ from: 'fe80::1', to, hops }, new Uint8Array(24).with(0, type))
  const dhcp6 = { from: 'fe80::1', to: 'ff02::1:2' }

  it.each<[string, Uint8Array, string]>([
    ['ARP', ethernet(0x0806), 'passes'],
    ['another protocol', ethernet(0x88b5), 'policy-denied'],
    ['a tag', ethernet(0x8100), 'policy-denied'],
    ['a solicitation', frame(HOST_MAC, message6(135, 255)), 'passes'],
    ['a solicitation from afar', frame(HOST_MAC, message6(135, 254)), 'policy-denied'],
    ['a redirect', frame(HOST_MAC, message6(137, 255)), 'passes'],
    ['a report of groups', frame(HOST_MAC, message6(143, 1, 'ff02::16')), 'passes'],
    ['a report from afar', frame(HOST_MAC, message6(143, 64)), 'policy-denied'],
    ['an unknown message', frame(HOST_MAC, message6(138, 255)), 'policy-denied'],
    [
      'IGMP',
      frame(
        HOST_MAC,
        ip4({ from: '10.1.0.1', to: '224.0.0.22', protocol: 2, ttl: 1 }, new Uint8Array(8)),
      ),
      'passes',
    ],
    [
      'DHCP',
      frame(HOST_MAC, udp({ from: '0.0.0.0', to: '255.255.255.255' }, { from: 68, to: 67 }, EMPTY)),
      'passes',
    ],
    [
      'its ports elsewhere',
      frame(HOST_MAC, udp({ from: '10.1.0.9', to: '10.1.0.1' }, { from: 68, to: 67 }, EMPTY)),
      'policy-denied',
    ],
    ['DHCPv6', frame(HOST_MAC, udp(dhcp6, { from: 546, to: 547 }, EMPTY)), 'passes'],
    [
      'DHCPv6 from afar',
      frame(HOST_MAC, udp({ ...dhcp6, from: 'fd00::1' }, { from: 546, to: 547 }, EMPTY)),
      'policy-denied',
    ],
    [
      'IPv4 in the guise of IPv6',
      frame(HOST_MAC, ip6({ from: '::ffff:10.1.0.1', to: 'fd00::1' }, new Uint8Array(8))),
      'ip-martian',
    ],
  ])('%s', (_, bytes, fate) => {
    const lab = new PolicyLab(shut)
    let passed = 0
    const next = (packet: Parameters<typeof lab.pool.free>[0]): void => {
      passed++
      lab.pool.free(packet)
    }
    for (const input of [lab.policy.egress(next), lab.policy.ingress(next)]) {
      expect(lab.give(input, bytes)).toBe(fate === 'passes' ? undefined : fate)
    }
    expect(passed).toBe(fate === 'passes' ? 2 : 0)
    lab.end()
  })

  it('is read in no frame that is too short for it', () => {
    const lab = new PolicyLab({ egress: rules('allow'), ingress: rules('allow') })
    for (const family of FAMILIES) {
      const of = packets(family)
      const { own, far } = ENDS[family]
      for (const ip of [
        of.segment(SYN),
        of.datagram(),
        of.echo(),
        of.error(far, own, of.datagram()),
      ]) {
        const whole = frame(HOST_MAC, ip)
        for (let bytes = 0; bytes < whole.length; bytes++) {
          const fate = lab.give(
            lab.policy.ingress((p) => lab.pool.free(p)),
            whole.slice(0, bytes),
          )
          expect(fate).toBe(bytes < 14 ? undefined : 'ip-malformed')
        }
      }
    }
    expect(lab.flows.count).toBe(0)
    lab.end()
  })
})

describe('what policies remember', () => {
  it('is bounded, and refuses what has no room', () => {
    const lab = new PolicyLab({ egress: rules('allow'), ingress: rules('deny') }, 4)
    const both = (from: number) => {
      const ends = { from: '10.1.0.1', to: '10.2.0.2' }
      const back = { from: '10.2.0.2', to: '10.1.0.1' }
      expect(lab.sends(udp(ends, { from, to: 9 }, EMPTY))).toBe('passes')
      expect(lab.gets(udp(back, { from: 9, to: from }, EMPTY))).toBe('passes')
      expect(lab.sends(udp(ends, { from, to: 9 }, EMPTY))).toBe('passes')
    }
    for (let port = 1; port <= 4; port++) both(port)
    const more = udp({ from: '10.1.0.1', to: '10.2.0.2' }, { from: 5, to: 9 }, EMPTY)
    expect(lab.sends(more)).toBe('conntrack-full')
    expect(lab.flows.count).toBe(4)
    lab.end()
  })

  it('is of one endpoint, and told apart from what comes after it', () => {
    const lab = new PolicyLab(CLOSED)
    const of = packets(4)
    lab.sends(of.datagram())
    const flow = lab.flows.table.nextLive(0)
    const serial = lab.flows.table.mark(flow)
    expect(lab.flows.holds(flow, serial)).toBe(true)
    lab.flows.end(PORT + 1, () => false)
    expect(lab.flows.holds(flow, serial)).toBe(true)
    lab.flows.end(PORT, () => false)
    expect(lab.flows.holds(flow, serial)).toBe(false)
    lab.sends(of.datagram())
    expect(lab.flows.table.nextLive(0)).toBe(flow)
    expect(lab.flows.holds(flow, serial)).toBe(false)
    expect(lab.flows.wayOf(flow)).toBe(Way.Egress)
    expect(lab.flows.wayOf(flow ^ 1)).toBe(Way.Ingress)
    expect(PolicyFlows.word(PORT, Way.Egress)).not.toBe(PolicyFlows.word(PORT, Way.Ingress))
    lab.end()
  })

  it('is no reason to cache what was judged by itself', () => {
    const lab = new PolicyLab({ egress: rules('allow'), ingress: rules('allow') })
    const of = packets(4)
    const fate = (ip: Uint8Array) => {
      let recorded: boolean | undefined
      const input = lab.policy.ingress((packet) => {
        recorded = packet.recorded
        lab.pool.free(packet)
      })
      lab.give(input, frame(HOST_MAC, ip), true)
      return recorded
    }
    expect(fate(of.echoReply())).toBe(false)
    expect(fate(of.ask())).toBe(true)
    lab.end()
  })

  it('is not changed by a trace, which tells who admitted what', () => {
    const spec = { egress: rules('allow udp - 53', 'deny'), ingress: rules('deny') }
    const lab = new PolicyLab(spec)
    const of = packets(4)
    const traced = (ip: Uint8Array, way: 'egress' | 'ingress'): string => {
      const record = new Trace()
      lab.pool.trace = record
      const input = lab.policy[way]((packet) => lab.pool.free(packet))
      lab.give(
        (packet) => {
          packet.traced = true
          input(packet)
        },
        frame(HOST_MAC, ip),
      )
      lab.pool.trace = undefined
      return [
        ...record.steps.map(({ element, text }) => `${element}: ${text}`),
        ...record.ends.map(({ detail }) => detail),
      ].join(', ')
    }
    const before = traced(of.datagram(), 'egress')
    expect(before).toBe('policy web/eth0: egress: allowed by allow udp - 53')
    expect(lab.flows.count).toBe(0)
    expect(traced(of.answer(), 'ingress')).toBe(
      'policy web/eth0: ingress: denied by the default, policy-denied',
    )
    lab.sends(of.datagram())
    expect(traced(of.answer(), 'ingress')).toBe(
      'policy web/eth0: ingress: of a flow that allow udp - 53 admitted',
    )
    lab.end()
  })
})
