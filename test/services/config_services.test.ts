/** `services`, `uplink`, `ports` and what networks say of the outside: read, and refused. */
import { describe, expect, it } from 'vitest'
import { parseDuration } from '../../services/config/duration.ts'
import type { Config } from '../../services/config/model.ts'
import { formatFault, parseConfig } from '../../services/config/parse.ts'
import { parsePort } from '../../services/ports.ts'
import { contains, formatPrefix } from '../../stack/address.ts'
import { formatConfig } from './config_text.ts'

/** Lines 1 to 10; what is under test begins at line 11. */
const BASE = `name: t
networks:
  front: { enable_ipv6: true, ipam: { config: [{ subnet: 10.1.0.0/24 }, { subnet: "fd00::/64" }] } }
  back: { ipam: { config: [ { subnet: 10.2.0.0/24 } ] } }
  vault: { internal: true }
sandboxes:
  web1: { networks: { front: { ipv4_address: 10.1.0.11 } } }
  web2: { networks: [ front ] }
  db: { networks: [ vault ] }
  bare: { network_mode: none }
`

function faults(rest: string, base = BASE): string[] {
  const { config, faults: list } = parseConfig(`${base}${rest}`, 'f')
  expect(config === undefined).toBe(list.length > 0)
  return list.map(formatFault)
}

function good(rest: string, base = BASE): Config {
  const { config, faults: list } = parseConfig(`${base}${rest}`, 'f')
  expect(list).toEqual([])
  return config!
}

/** Faults of a service `s` on `front` with backend web1, port 80 and one key more, in line 12. */
function inService(more: string): string[] {
  return faults(
    `services:\n  s: { network: front, backends: [ web1 ], ports: [ 80 ], ${more} }\n`,
  ).map((text) => text.replace(/^f:12:\d+: /, ''))
}

/** Faults of a sandbox on `front`, `back` or both, with these ports. */
function inPorts(ports: string, rest = '', networks = 'front'): string[] {
  return faults(`  s: { networks: [ ${networks} ], ports: [ ${ports} ] }\n${rest}`)
}

describe('what is said of connections', () => {
  it('is read, with what is left out left to the stack', () => {
    expect(good('').tracking).toEqual({ timeouts: {}, resetExpired: false, nat: {} })
    const { tracking } = good(`conntrack:
  timeouts: { tcp_established: 2h, udp_stream: 1m30s }
  reset_expired: true
nat: { mapping: endpoint-dependent, filtering: address-dependent, ports: "20000-29999" }
`)
    expect(tracking).toEqual({
      timeouts: { tcpEstablishedMs: 7_200_000, udpStreamMs: 90_000 },
      resetExpired: true,
      nat: {
        mode: 'endpoint-dependent',
        filtering: 'address-dependent',
        portMin: 20_000,
        portMax: 29_999,
      },
    })
  })

  it('is refused where it is wrong', () => {
    expect(faults('conntrack: { timeouts: { tcp_establishd: 1s, udp: 5 } }\n')).toEqual([
      expect.stringMatching(/^f:11:\d+: unknown key "tcp_establishd".*"tcp_established"/),
      expect.stringMatching(/^f:11:\d+: .*/),
    ])
    expect(faults('conntrack: { timeouts: { udp: soon } }\n')).toEqual([
      'f:11:31: "soon" is not a duration, such as "2s", "500ms" or "1m30s"',
    ])
    for (const time of ['0s', '999ms', '8761h', '60000h']) {
      expect(faults(`conntrack: { timeouts: { udp: ${time} } }\n`)).toEqual([
        `f:11:31: "${time}" is not between 1s and 8760h, a year`,
      ])
    }
    const widest = good('conntrack: { timeouts: { udp: 1s, tcp_established: 8760h } }\n')
    expect(widest.tracking.timeouts).toEqual({ udpMs: 1000, tcpEstablishedMs: 31_536_000_000 })
    for (const ports of ['80-90', '3000-2000', '2000', '1024-65536']) {
      expect(faults(`nat: { ports: "${ports}" }\n`)).toEqual([
        `f:11:15: "${ports}" is no range of ports from 1024 up, such as "20000-29999"`,
      ])
    }
    expect(faults('nat: { mapping: none }\n')).toEqual([
      expect.stringMatching(/^f:11:17: .*endpoint-independent/),
    ])
  })
})

describe('services', () => {
  it('have defaults', () => {
    const [service] = good(
      `services: { s: { network: front, backends: [ web1 ], ports: [ 80 ] } }`,
    ).services
    expect(service).toEqual({
      name: 's',
      network: 'front',
      vips: [],
      mode: 'vip',
      ports: [parsePort('80')],
      scheduler: 'maglev',
      backends: [{ sandbox: 'web1', weight: 1 }],
      healthcheck: undefined,
      affinityMs: 0,
      aliases: [],
      answers: 'ready',
    })
  })

  it('are read in full', () => {
    const [service] = good(`services:
  s:
    network: front
    vip: [ 10.1.0.100, "fd00::100" ]
    ports: [ "8081:80", { target: 53, published: 53, protocol: udp, mode: ingress } ]
    scheduler: least_conn
    backends: { web1: { weight: 3 }, web2: }
    healthcheck: {type: http, interval: 1m30s, timeout: 500ms, retries: 5, rise: 2, slow_start: 1s}
    affinity: client_ip
    affinity_timeout: 10m
`).services
    expect(formatConfig(service)).toEqual({
      name: 's',
      network: 'front',
      vips: ['10.1.0.100', 'fd00::100'],
      mode: 'vip',
      ports: [formatConfig(parsePort('8081:80')), formatConfig(parsePort('53:53/udp'))],
      scheduler: 'least_conn',
      backends: [
        { sandbox: 'web1', weight: 3 },
        { sandbox: 'web2', weight: 1 },
      ],
      healthcheck: {
        type: 'http',
        port: 80,
        path: '/',
        intervalMs: 90_000,
        timeoutMs: 500,
        retries: 5,
        rise: 2,
        slowStartMs: 1000,
      },
      affinityMs: 600_000,
      aliases: [],
      answers: 'ready',
    })
  })

  it('check a port of their own where nothing says which', () => {
    const ports = '[ { target: 53, protocol: udp }, 80 ]'
    const of = (check: string): unknown =>
      good(
        `services: { s: { network: front, backends: [ web1 ], ports: ${ports}, ` +
          `healthcheck: ${check} } }`,
      ).services[0]?.healthcheck?.port
    expect(of('{}')).toBe(80)
    expect(of('{ type: http }')).toBe(80)
    expect(of('{ type: udp }')).toBe(53)
    expect(of('{ type: dns }')).toBe(53)
    expect(of('{ type: icmp }')).toBe(0)
    expect(of('{ type: tcp, port: 81 }')).toBe(81)
  })

  it.each([
    ['vip: 10.2.0.5', '10.2.0.5 is not in 10.1.0.0/24 of network "front"'],
    ['vip: 10.1.0.11', '10.1.0.11 is taken by sandbox "web1" on network "front"'],
    ['vip: 10.1.0.1', '10.1.0.1 is taken by the gateway on network "front"'],
    ['vip: 10.1.0.255', '10.1.0.255 is the network or broadcast address of 10.1.0.0/24'],
    ['vip: [ 10.1.0.5, 10.1.0.6 ]', '10.1.0.6: a second virtual address of IPv4'],
    ['scheduler: maglv', '"maglv" is not one of rr, wrr, least_conn, maglev, source_hash; did'],
    ['labels: {}', '"labels" is not supported by this version of tapline'],
    ['affinity_timeout: 1m', '"affinity_timeout" has no effect without "affinity: client_ip"'],
    ['affinity_timeout: 10ms', '"10ms" is not between 1000ms and 24h'],
    ['endpoint_mode: dnsrr, vip: 10.1.0.5', 'endpoint_mode dnsrr has no virtual address'],
    ['healthcheck: { type: icmp, port: 1 }', 'a check of type icmp has no port'],
    ['healthcheck: { type: udp }', 'a check of type udp needs "port"'],
    ['healthcheck: { path: / }', '"path" goes with type http only'],
    ['healthcheck: { type: http, path: health }', '"health" is not a path, such as "/health"'],
    ['healthcheck: { interval: 5 }', 'expected a string, got 5; put it in quotes'],
    ['healthcheck: { interval: 5x }', '"5x" is not a duration, such as "2s"'],
    ['healthcheck: { interval: 1ms }', '"1ms" is not between 100ms and 24h'],
    ['healthcheck: { timeout: 3s }', 'a check must be over before the next'],
    ['healthcheck: { retries: 0 }', 'expected at least 1, got 0'],
    ['healthcheck: { port: 70000 }', 'expected at most 65535, got 70000'],
    ['vip: 10.1.0', '"10.1.0" is not an IPv4 or IPv6 address'],
    ['vip: 3', 'expected a string or a list, got 3'],
    ['healthcheck: { test: [ CMD ] }', '"test" is not supported by this version of tapline'],
  ])('%s is refused', (more, message) => {
    const list = inService(more)
    expect(list).toHaveLength(1)
    expect(list[0]).toContain(message)
  })

  it.each([
    ['network: frnt, backends: [], ports: [ 80 ]', '17: there is no network "frnt"; did you mean'],
    ['network: none, backends: [], ports: [ 80 ]', '17: a service needs a network of driver'],
    ['network: front, ports: [ 80 ]', '6: "backends" is missing'],
    ['network: front, backends: web1, ports: [ 80 ]', '34: expected a list or a mapping'],
    ['network: front, backends: [ we1 ], ports: [ 80 ]', '36: there is no sandbox "we1"; did'],
    ['network: front, backends: [ db ], ports: [ 80 ]', '36: sandbox "db" is not on network'],
    ['network: front, backends: [ web1, web1 ], ports: [ 80 ]', '42: sandbox "web1" is given'],
    [
      'network: front, backends: { web1: { weight: 257 } }, ports: [ 80 ]',
      '52: expected at most 256, got 257',
    ],
    ['network: front, backends: { web1: { wait: 2 } }, ports: [ 80 ]', '44: unknown key "wait"'],
    ['network: front, backends: []', '6: a service needs "ports"'],
    ['network: front, backends: [], ports: [ 80-81, 81 ]', '54: port 81/tcp is given twice'],
    ['network: front, backends: [], ports: [ "80/sctp" ]', '47: a service balances tcp and udp'],
    [
      'network: front, backends: [], ports: [ "1.2.3.4::1" ]',
      '47: a service publishes no port that',
    ],
    ['network: front, backends: [], ports: [ "224.0.0.1:1:1" ]', '47: 224.0.0.1 is a multicast'],
    ['network: front, backends: [], ports: [ 80, "81:80" ]', '51: port 80/tcp is given twice'],
    ['network: front, backends: [], ports: [ 0 ]', '47: "0": "0" is not a port from 1 to 65535'],
    ['network: front, backends: [], ports: 80', '45: expected a list of ports, got 80'],
    ['network: front, backends: [], endpoint_mode: dnsrr, ports: [ "1:80" ]', '69: endpoint_mode'],
  ])('%s is refused', (service, message) => {
    const text = service.includes('network: none')
      ? `  more: { network_mode: none }\nservices:\n  s: { ${service} }\n`
      : `services:\n  s: { ${service} }\n`
    const list = faults(text)
    expect(list).toHaveLength(1)
    const [, wanted, rest] = /^(\d+): (.*)$/.exec(message)!
    expect(list[0]).toMatch(/^f:1[23]:/)
    expect(list[0]).toContain(rest)
    if (!service.includes('none')) expect(list[0]).toContain(`:${Number(wanted)}:`)
  })

  it('do not share a virtual address', () => {
    const one = (name: string): string =>
      `  ${name}: { network: front, vip: "fd00::9", backends: [], ports: [ 80 ] }\n`
    expect(faults(`services:\n${one('a')}${one('b')}`)).toEqual([
      'f:13:29: fd00::9 is taken by service "a" on network "front"',
    ])
  })
})

describe('durations', () => {
  it.each([
    ['2s', 2000],
    ['500ms', 500],
    ['1m30s', 90_000],
    ['1.5s', 1500],
    ['1h2m3s4ms', 3_723_004],
  ])('%s', (text, ms) => expect(parseDuration(text)).toBe(ms))

  it.each(['', '2', 's', '2 s', '-2s', '2s!', '1e3s', '2S', '1..2s'])('"%s" is none', (text) => {
    expect(() => parseDuration(text)).toThrow('is not a duration')
  })
})

describe('published ports', () => {
  it.each([
    ['"0:80"', 'f:11:38: "0:80": "0" is not a port from 1 to 65535'],
    ['"80:70000"', 'f:11:38: "80:70000": "70000" is not a port'],
    ['"80-82:80-81"', 'f:11:38: "80-82:80-81": 3 ports cannot lead to 2'],
    ['"80:80", "80-90:1-11"', 'f:11:47: 80-90:1-11/tcp overlaps 80:80/tcp of sandbox "s"'],
    ['"10.9.9.9:80:80", "80:80"', 'f:11:56: 80:80/tcp overlaps 10.9.9.9:80:80/tcp of'],
    ['{ published: 80 }', 'f:11:38: "target" is missing'],
    ['{ target: true }', 'f:11:48: expected a number or a string, got true'],
    ['{ target: 80, mode: hostt }', 'f:11:58: "hostt" is not one of host, ingress; did you'],
    ['{ target: 80, app_protocol: 1 }', 'f:11:66: expected a string, got 1'],
    ['[ 80 ]', 'f:11:38: '],
  ])('%s is refused', (ports, message) => {
    const list = inPorts(ports)
    expect(list).toHaveLength(1)
    expect(list[0]!.startsWith(message)).toBe(true)
  })

  it('may share a port by protocol, family and address', () => {
    expect(inPorts('"80:80", "80:80/udp", "80:80/sctp"')).toEqual([])
    expect(inPorts('"0.0.0.0:80:80", "[::]:80:80"')).toEqual([])
    expect(inPorts('"10.9.9.8:80:80", "10.9.9.9:80:80"')).toEqual([])
  })

  it('are on networks that can answer', () => {
    expect(inPorts('"[2001:db8::1]:80:80"', '', 'back')).toEqual([
      'f:11:37: 2001:db8::1: network "back" has no IPv6',
    ])
    const none = '  s: { network_mode: none, ports: [ "80:80" ] }\n'
    expect(faults(none)).toEqual([
      'f:11:28: publishing needs a network of driver "bridge" that the sandbox is on',
    ])
  })

  it.each([
    ['10.1.0.2', []],
    ['10.9.9.9', []],
    ['203.0.113.2', []],
    ['203.0.113.9', ["203.0.113.9 is another machine's: the uplink has 203.0.113.2/24"]],
    ['224.0.0.1', ['224.0.0.1 is a multicast group, not an address of the node']],
    ['255.255.255.255', ['255.255.255.255 is a broadcast, not an address of the node']],
    [
      '127.0.0.2',
      ['127.0.0.2 leads nowhere: only an uplink with "host: true" is asked by loopback addresses'],
    ],
  ])('may be on addresses where somebody can ask for them: %s', (address, wanted) => {
    const uplink = 'uplink: { netns: o, addresses: [ 203.0.113.2/24 ] }\n'
    const found = inPorts(`"${address}:80:80"`, uplink)
    expect(found).toEqual(wanted.map((text) => `f:11:38: ${text}`))
  })

  it('may be on loopback addresses of a host', () => {
    expect(inPorts('"127.0.0.2:80:80"', 'uplink: host\n')).toEqual([])
  })

  it('clash where their network binds them', () => {
    const bound = (address: string): string =>
      `{ driver_opts: { com.docker.network.bridge.host_binding_ipv4: ${address} } }`
    const two = (a: string, b: string): string[] =>
      faults(
        `sandboxes:
  a: { networks: [ a ], ports: [ "80:80" ] }
  b: { networks: [ b ], ports: [ "80:80" ] }
`,
        `name: t\nnetworks:\n  a: ${bound(a)}\n  b: ${bound(b)}\n`,
      )
    expect(two('10.9.9.8', '10.9.9.9')).toEqual([])
    expect(two('10.9.9.8', '10.9.9.8')).toEqual([
      'f:7:34: 10.9.9.8:80:80/tcp overlaps 10.9.9.8:80:80/tcp of sandbox "a"',
    ])
    expect(two('10.9.9.8', '0.0.0.0')).toHaveLength(1)
  })

  it('clash with those of services', () => {
    const service = '  web: { network: front, backends: [], ports: [ "80:81" ] }\n'
    expect(inPorts('"80:80"', `services:\n${service}`)).toEqual([
      'f:13:49: 80:81/tcp overlaps 80:80/tcp of sandbox "s"',
    ])
  })
})

describe('the uplink', () => {
  const uplink = (more: string): string[] => faults(`uplink: { ${more} }\n`)

  it('is read in full', () => {
    const config = good(`uplink:
  netns: outside
  addresses: [ 203.0.113.2/24, "2001:db8::2/64" ]
  peer_addresses: [ 203.0.113.1/24 ]
  gateway: [ 203.0.113.1, "2001:db8::1" ]
  mac_address: "02:00:00:00:00:01"
  mtu: 9000
routes: [ { to: 192.0.2.0/24, via: 203.0.113.9 } ]
`)
    expect(formatConfig(config.uplink)).toEqual({
      host: false,
      netns: 'outside',
      interfaceName: undefined,
      mac: '02:00:00:00:00:01',
      mtuBytes: 9000,
      addresses: ['203.0.113.2/24', '2001:db8::2/64'],
      peerAddresses: ['203.0.113.1/24'],
      gateways: ['203.0.113.1', '2001:db8::1'],
    })
  })

  it.each([
    ['addresses: [ 203.0.113.2/24 ]', 'f:11:9: an uplink needs "netns" (a TAP is'],
    ['netns: o', 'f:11:9: an uplink needs "addresses"'],
    ['netns: o, addresses: [ 10.1.0.7/16 ]', 'f:11:34: 10.1.0.7/16 overlaps network "front"'],
    [
      'netns: o, addresses: [ 1.2.3.4/24 ], gateway: 1.2.4.1',
      'f:11:57: 1.2.4.1 is on no network of "addresses"',
    ],
    [
      'netns: o, addresses: [ 1.2.3.4/24 ], gateway: 1.2.3.4',
      `f:11:57: 1.2.3.4 is the uplink's own address`,
    ],
    [
      'netns: o, addresses: [ 1.2.3.4/24 ], gateway: [ 1.2.3.1, 1.2.3.2 ]',
      'f:11:57: 1.2.3.2: a second gateway of IPv4',
    ],
    [
      'netns: o, addresses: [ 1.2.3.4/24 ], peer_addresses: [ 1.2.3.4/24 ]',
      `f:11:66: 1.2.3.4 is the uplink's own address`,
    ],
    ['netns: o, addresses: [ 1.2.3.4/24 ], gateway: [ 1.2.3 ]', 'f:11:59: "1.2.3" is not an'],
    ['netns: web1, addresses: [ 1.2.3.4/24 ]', 'f:11:18: sandbox "web1" is there'],
    [
      'interface: eth1, addresses: [ 1.2.3.4/24 ], peer_addresses: [ 1.2.3.1/24 ]',
      'f:11:55: "peer_addresses" goes with a TAP only',
    ],
    ['interface: eth1, addresses: [ 1.2.3.4/24 ], mtu: 1500', 'f:11:55: "mtu" goes with a TAP'],
    ['netns: o, addresses: [ 1.2.3.4/24 ], gatway: 1.2.3.1', 'f:11:48: unknown key "gatway"; did'],
  ])('%s is refused', (more, message) => {
    const list = uplink(more)
    expect(list).toHaveLength(1)
    expect(list[0]!.startsWith(message)).toBe(true)
  })

  it('is the host, over a net that stays and is its own for each name', () => {
    const config = good('uplink: host\n').uplink!
    expect(config).toEqual(good('uplink: { host: true }\n').uplink)
    expect(config).toMatchObject({ host: true, netns: undefined, interfaceName: undefined })
    const [own, far] = [config.addresses, config.peerAddresses].map((list) =>
      list.map(formatPrefix),
    )
    expect(own![0]).toMatch(/^198\.1[89]\.\d+\.(2|66|130|194)\/26$/)
    expect(own![1]).toMatch(/^fd[\da-f:]+::2\/112$/)
    for (const [i, text] of far!.entries()) {
      expect(text).not.toBe(own![i])
      expect(contains(config.addresses[i]!, config.peerAddresses[i]!.address)).toBe(true)
    }
    expect(config.gateways).toEqual(config.peerAddresses.map(({ address }) => address))
    const other = good('uplink: host\n', BASE.replace('name: t', 'name: u')).uplink!
    expect(formatPrefix(other.addresses[0]!)).not.toBe(own![0])
    const given = 'addresses: [ 192.168.9.2/24 ], peer_addresses: [ 192.168.9.1/24 ]'
    expect(formatConfig(good(`uplink: { host: true, ${given} }\n`).uplink)).toMatchObject({
      addresses: ['192.168.9.2/24'],
      peerAddresses: ['192.168.9.1/24'],
      gateways: ['192.168.9.1'],
    })
  })

  it.each([
    ['host: true, netns: o', 'f:11:23: "netns" does not go with "host"'],
    ['host: true, interface: eth0', 'f:11:23: "interface" does not go with "host"'],
    ['host: true, gateway: 1.2.3.4', 'f:11:23: "gateway" does not go with "host"'],
    ['host: true, addresses: [ 1.2.3.4/24 ]', 'f:11:9: "host" needs one of "addresses" and one'],
    [
      'host: true, addresses: [ 1.2.3.4/8, 1.2.4.4/8 ], peer_addresses: [ 1.2.3.1/8, 1.2.4.1/8 ]',
      'f:11:9: "host" needs one of "addresses" and one',
    ],
    [
      'host: true, addresses: [ 1.2.3.4/24 ], peer_addresses: [ 1.2.4.1/24 ]',
      'f:11:9: 1.2.4.1 is on no network of "addresses"',
    ],
  ])('%s is refused', (more, message) => {
    expect(uplink(more)[0]!.slice(0, message.length)).toBe(message)
  })

  it('is no other word than "host"', () => {
    expect(faults('uplink: hots\n')).toHaveLength(1)
  })

  it('has the addresses where ports may be, and the ways that routes may go', () => {
    const way = 'uplink: { netns: o, addresses: [ 203.0.113.2/24 ], gateway: 203.0.113.1 }\n'
    expect(inPorts('"203.0.113.2:80:80", "198.51.100.9:80:80"', way)).toEqual([])
    expect(inPorts('"203.0.113.3:80:80"', way)).toEqual([
      `f:11:38: 203.0.113.3 is another machine's: the uplink has 203.0.113.2/24`,
    ])
    const route = (text: string): string[] => faults(`${way}routes: [ { ${text} } ]\n`)
    expect(route('to: 192.0.2.0/24, via: 203.0.113.9')).toEqual([])
    expect(route('to: 192.0.2.0/24, via: 203.0.113.2')).toEqual([
      `f:12:36: 203.0.113.2 is the router's own address`,
    ])
    expect(route('to: 0.0.0.0/0, via: 203.0.113.9')).toEqual([
      'f:12:17: the gateway of the uplink is the way there already',
    ])
  })

  it('leaves its name to no network', () => {
    expect(faults('', 'name: t\nnetworks: { uplink: {} }\n')).toEqual([
      'f:2:13: "uplink" is reserved for the way out',
    ])
  })
})

describe('networks and the outside', () => {
  const options = (text: string, more = ''): string[] =>
    faults('', `name: t\nnetworks: { n: { ${more}driver_opts: { ${text} } } }\n`)
  const B = 'com.docker.network.bridge'

  it('take what Docker takes', () => {
    const { options: read } = good(
      '',
      `name: t\nnetworks:\n  n:\n    driver_opts:
      ${B}.enable_ip_masquerade: "false"
      ${B}.gateway_mode_ipv4: routed
      ${B}.gateway_mode_ipv6: nat-unprotected
      ${B}.host_binding_ipv4: 127.0.0.2
      com.docker.network.host_ipv4: 198.51.100.7
      com.docker.network.host_ipv6: "2001:db8::7"
`,
    ).networks[0]!
    expect(formatConfig(read)).toMatchObject({
      masquerade: false,
      gatewayMode4: 'routed',
      gatewayMode6: 'nat-unprotected',
      binding4: '127.0.0.2',
      egress4: '198.51.100.7',
      egress6: '2001:db8::7',
    })
  })

  it.each([
    [`${B}.gateway_mode_ipv4: nats`, 'expected nat, nat-unprotected, routed, isolated, got "nats"'],
    [`${B}.gateway_mode_ipv6: isolated`, 'mode "isolated" is for networks with "internal: true"'],
    [`com.docker.network.host_ipv4: "::1"`, 'expected an IPv4 address, got "::1"'],
    [`${B}.host_binding_ipv4: here`, 'expected an IPv4 address, got "here"'],
    [`${B}.enable_ip_masquerade: maybe`, 'expected "true" or "false", got "maybe"'],
  ])('%s is refused', (text, message) => {
    const list = options(text)
    expect(list).toHaveLength(1)
    expect(list[0]).toContain(message)
  })

  it('may be isolated where they are internal', () => {
    expect(options(`${B}.gateway_mode_ipv4: isolated`, 'internal: true, ')).toEqual([])
  })
})
