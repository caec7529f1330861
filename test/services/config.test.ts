/** Configuration files: what they mean, and every way in which they can be wrong. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatFault, parseConfig } from '../../services/config/parse.ts'
import { formatConfig } from './config_text.ts'

const SHOP = `
name: shop
x-common: &common
  enable_ipv6: true
  driver_opts: { com.docker.network.driver.mtu: "1400" }
networks:
  front:
    <<: *common
    ipam:
      config:
        - subnet: 10.1.0.0/24
          gateway: 10.1.0.254
          ip_range: 10.1.0.128/25
          aux_addresses: { nas: 10.1.0.200 }
        - { subnet: "fd00:1::/64", gateway: "fd00:1::1" }
  back: { internal: true }
sandboxes:
  web1:
    netns: web1
    networks:
      front:
        ipv4_address: 10.1.0.11
        ipv6_address: "fd00:1::11"
        aliases: [web]
        mac_address: "02:00:00:00:00:11"
      back:
  db: { netns: "pid:12", networks: [ back ] }
  side: { network_mode: "container:web1" }
  bare: { network_mode: none }
  mon: { network_mode: host }
routes:
  - { to: 10.9.0.0/16, via: 10.1.0.5 }
  - { to: "fd09::/32", blackhole: true }
`

function faults(text: string): string[] {
  const { config, faults: list } = parseConfig(text, 'f.yaml')
  expect(config === undefined).toBe(list.length > 0)
  return list.map(formatFault)
}

/** The faults of a file with one network `n` (lines 3 to 4) and what `rest` adds from line 5 on. */
function inNetwork(network: string, rest = ''): string[] {
  return faults(`name: t\nnetworks:\n  n:\n    ${network}\n${rest}`)
}

/** The faults of an endpoint of sandbox `s` on a network of both families. */
function inEndpoint(endpoint: string): string[] {
  return faults(`name: t
networks:
  n: { enable_ipv6: true, ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00::/64" } ] } }
sandboxes:
  s: { networks: { n: { ${endpoint} } } }`)
}

describe('a good file', () => {
  it('is read in full, with defaults filled in and order kept', () => {
    const { config, faults: list } = parseConfig(SHOP, 'shop.yaml')
    expect(list).toEqual([])
    expect(formatConfig(config!)).toMatchSnapshot()
  })

  it('is what the documentation shows', () => {
    const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
    const [, example] = /```yaml\n(.*?)```/s.exec(page)!
    expect(parseConfig(example!, 'example').faults).toEqual([])
  })

  it('may be JSON', () => {
    const text = JSON.stringify({
      name: 'j',
      networks: { n: {} },
      sandboxes: { a: { networks: ['n'] } },
    })
    expect(parseConfig(text, 'j').config?.sandboxes[0]?.endpoints[0]?.network).toBe('n')
  })

  it('may have an empty network and no sandboxes', () => {
    expect(parseConfig('name: e\nnetworks:\n  n:\n', 'e').config?.networks[0]?.driver).toBe(
      'bridge',
    )
  })

  it('may write options as strings, numbers and booleans', () => {
    const text = `name: t
networks:
  n:
    driver_opts:
      com.docker.network.driver.mtu: 9000
      com.docker.network.bridge.enable_icc: false
      tapline.offload: "false"
      tapline.arp_proxy: "false"
      tapline.mac_guard: "0"`
    expect(parseConfig(text, 't').config?.networks[0]?.options).toMatchObject({
      mtuBytes: 9000,
      isolated: true,
      offload: false,
      arpProxy: false,
      macGuard: false,
    })
  })

  it('turns the ARP proxy off where VLANs are filtered, unless told', () => {
    const options = (opts: string): unknown =>
      parseConfig(`name: t\nnetworks: { n: { driver_opts: { ${opts} } } }`, 't').config?.networks[0]
        ?.options
    expect(options('tapline.vlan_filtering: true')).toMatchObject({ arpProxy: false })
    const both = 'tapline.vlan_filtering: true, tapline.arp_proxy: true'
    expect(options(both)).toMatchObject({ arpProxy: true, vlanFiltering: true })
  })

  it('gives endpoints their options', () => {
    const text = `name: t
networks: { n: { driver_opts: { tapline.vlan_filtering: true } } }
sandboxes:
  s:
    networks:
      n:
        interface_name: lan0
        driver_opts:
          tapline.vlan_pvid: 10
          tapline.vlan_tagged: "30,20"
          tapline.storm_broadcast: 100
          tapline.mtu: 1400
          tapline.isolated: true`
    const endpoint = parseConfig(text, 't').config?.sandboxes[0]?.endpoints[0]
    expect(endpoint).toMatchObject({
      interfaceName: 'lan0',
      options: {
        pvid: 10,
        tagged: [20, 30],
        broadcastPerS: 100,
        multicastPerS: undefined,
        mtuBytes: 1400,
        isolated: true,
      },
    })
  })
})

describe('places', () => {
  it('tells each fault at its line and column, all of them, in order', () => {
    const text = `name: shop_x
networks:
  front:
    drivr: bridge
    enable_ipv6: yes
    ipam: { config: [ { subnet: 10.1.0.5/24 } ] }
  mid: { driver_opts: { com.docker.network.driver.mut: 1400 } }
sandboxes:
  web1:
    netns: "a b"
  web2:
    networks: { frnt: { } }
  web3:
    networks: [ nosuch, 7 ]
`
    expect(faults(text)).toEqual([
      'f.yaml:1:7: "shop_x" is not a name: 1 to 63 letters, digits and inner hyphens, ' +
        'such as "web-1"',
      'f.yaml:4:5: unknown key "drivr"; did you mean "driver"?',
      'f.yaml:5:18: expected true or false, got "yes"',
      'f.yaml:6:33: "10.1.0.5/24" has host bits set; "10.1.0.0/24" would be right',
      'f.yaml:7:25: unknown key "com.docker.network.driver.mut"; ' +
        'did you mean "com.docker.network.driver.mtu"?',
      'f.yaml:10:12: "a b" is not a namespace: a name such as "web1", "pid:1234", or a path',
      'f.yaml:12:17: there is no network "frnt"; did you mean "front"?',
      'f.yaml:14:17: there is no network "nosuch"; define it under "networks"',
      'f.yaml:14:25: expected the name of a network, got 7',
    ])
  })

  it('points into an anchored block through alias and merge', () => {
    const text = `name: t
x-a: &a
  enable_ipv6: maybe
networks:
  one: *a
  two:
    <<: *a
    internal: 3
`
    expect(faults(text)).toEqual([
      'f.yaml:3:16: expected true or false, got "maybe"',
      'f.yaml:8:15: expected true or false, got 3',
    ])
  })

  it('tells a missing value at the key that should hold it', () => {
    expect(inNetwork('ipam: { config: [ { gateway: 10.0.0.1 } ] }')).toEqual([
      'f.yaml:4:23: "subnet" is missing',
    ])
    expect(faults('networks: {}')).toEqual([
      'f.yaml:1:1: "name" is missing; it names the daemon and its socket',
    ])
  })
})

describe('YAML', () => {
  /** Ten aliases of ten aliases, and so on. */
  const BOMB = Array.from({ length: 9 }, (_, i) => {
    const items = Array(10).fill(i === 0 ? 'x' : `*a${i - 1}`)
    return `a${i}: &a${i} [ ${items.join(', ')} ]\n`
  }).join('')

  it.each([
    ['name: t\nname: u\n', 'f.yaml:2:1: this key is already given in the same mapping'],
    ['name: t\nnetworks: { n: { driver: bridge, driver: bridge } }', /^f.yaml:2:34: this key is/],
    ['name: [\n', /^f.yaml:2:1: not YAML: /],
    ['name: !x t\n', /^f.yaml:1:7: not YAML: Unresolved tag: !x/],
    ['', /^f.yaml:1:1: the file is empty; it should begin with "name: ..."/],
    ['# nothing\n', /^f.yaml:1:1: the file is empty/],
    ['name: a\n---\nname: b\n', /^f.yaml:2:1: a second document begins here/],
    ['name: t\nnetworks: *n\n', /^f.yaml:2:11: there is no anchor "n" before this/],
    [BOMB, /^f.yaml:1:1: its aliases repeat too much/],
    ['- a\n', /^f.yaml:1:1: the file is not a mapping/],
    ['name: t\nnetworks: *nosuch\n', /^f.yaml:\d+:\d+: .*nosuch/],
    [
      'name: t\nnetworks: []\n',
      'f.yaml:2:11: expected a mapping from names to networks, got a list',
    ],
    ['name: t\nsandboxes: 7\n', /^f.yaml:2:12: expected a mapping from names to sandboxes, got 7/],
    ['name: t\nroutes: {}\n', 'f.yaml:2:9: expected a list of routes, got a mapping'],
  ])('%j', (text, fault) => {
    const list = faults(text)
    expect(list).toHaveLength(1)
    expect(list[0]).toMatch(fault)
  })

  it('refuses aliases that multiply without end', () => {
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]']
    for (let i = 1; i < 9; i++) {
      const [now, before] = [String.fromCharCode(97 + i), String.fromCharCode(96 + i)]
      bomb.push(`${now}: &${now} [${Array(9).fill(`*${before}`).join(',')}]`)
    }
    expect(faults(`name: t\n${bomb.join('\n')}`)[0]).toMatch(/^f.yaml:1:1: .*alias/i)
  })
})

it('a file that is nested too deeply is refused', () => {
  const list = faults(`name: ${'['.repeat(20_000)}${']'.repeat(20_000)}`)
  expect(list[0]).toMatch(/^f.yaml:1:\d+: nested too deeply$/)
})

describe('keys', () => {
  it.each(['ports'])('of later versions: %s', (key) => {
    expect(faults(`name: t\n${key}: {}`)).toEqual([
      `f.yaml:2:1: "${key}" is not supported by this version of tapline`,
    ])
  })

  it('of later versions in a sandbox, a network and an endpoint', () => {
    const rest = 'sandboxes: { s: { sysctls: [] } }'
    expect(inNetwork('attachable: true', rest)).toEqual([
      'f.yaml:4:5: "attachable" is not supported by this version of tapline',
      'f.yaml:5:19: "sysctls" is not supported by this version of tapline',
    ])
    expect(inEndpoint('gw_priority: 1')[0]).toMatch(/not supported by this version/)
    const later = '{ com.docker.network.bridge.inhibit_ipv4: "true" }'
    expect(inNetwork(`driver_opts: ${later}`)[0]).toMatch(/not supported by this version/)
  })

  it('that are unknown, with what is known', () => {
    expect(faults('name: t\nzzz: 1')[0]).toBe(
      'f.yaml:2:1: unknown key "zzz"; known here: ' +
        'name, networks, sandboxes, services, routes, uplink, conntrack, nat, node, dns',
    )
    expect(faults('name: t\nsandboxs: {}')[0]).toMatch(/did you mean "sandboxes"/)
  })
})

describe('networks', () => {
  it.each([
    ['driver: overlay', 'driver "overlay" needs "node" at the top'],
    ['driver: brigde', '"brigde" is not one of .*; did you mean "bridge"?'],
    ['driver: null', 'write "null" in quotes'],
    ['driver: container', 'driver container needs "tapline.sandbox"'],
    ['driver_opts: { tapline.sandbox: x }', '"tapline.sandbox" goes with driver container only'],
    ['{ driver: "null", enable_ipv6: true }', 'driver "null" gives no addresses'],
    ['{ driver: host, ipam: { config: [ { subnet: 10.0.0.0/8 } ] } }', 'gives no addresses'],
    ['enable_ipv4: false', 'a network without IPv4 needs enable_ipv6: true'],
    [
      'ipam: { driver: dhcp }',
      'addresses by DHCP come from a network outside: driver "macvlan" only',
    ],
    ['ipam: { config: [ { subnet: 10.1.0.0/24, gateway: 10.2.0.1 } ] }', 'not a host address'],
    ['ipam: { config: [ { subnet: 10.1.0.0/24, gateway: 10.1.0.255 } ] }', 'not a host address'],
    ['ipam: { config: [ { subnet: 10.1.0.0/24, ip_range: 10.1.0.0/16 } ] }', 'is not inside'],
    ['ipam: { config: [ { subnet: 10.1.0.0/24, ip_range: 10.2.0.0/25 } ] }', 'is not inside'],
    ['ipam: { config: [ { subnet: 10.1.0.0/24, aux_addresses: { a: 10.2.0.1 } } ] }', 'not a host'],
    [
      'ipam: { config: [ { subnet: 10.1.0.0/24, aux_addresses: { a: 10.1.0.9, b: 10.1.0.9 } } ] }',
      '10.1.0.9 is taken by aux_addresses "a"',
    ],
    [
      'ipam: { config: [ { subnet: 10.0.0.0/8, gateway: 10.0.0.9, aux_addresses: {a: 10.0.0.9}}]}',
      '10.0.0.9 is taken by the gateway',
    ],
    ['ipam: { config: [ { subnet: 10.1.0.0/32 } ] }', 'too small'],
    ['ipam: { config: [ { subnet: 10.1.0.0/33 } ] }', 'at most /32'],
    ['ipam: { config: [ { subnet: 10.1.0 } ] }', 'is not ADDRESS/BITS'],
    ['ipam: { config: [ { subnet: 127.0.0.0/24 } ] }', 'is loopback'],
    ['ipam: { config: [ { subnet: 239.0.0.0/24 } ] }', 'is multicast'],
    ['ipam: { config: [ { subnet: 169.254.7.0/24 } ] }', '169.254.0.0/16 is link-local'],
    ['{ enable_ipv6: true, ipam: { config: [ { subnet: "fe80::/64" } ] } }', 'is link-local'],
    ['ipam: { config: [ { subnet: "fd00::/64" } ] }', 'needs enable_ipv6: true'],
    [
      '{ enable_ipv4: false, enable_ipv6: true, ipam: { config: [ { subnet: 10.0.0.0/8 } ] } }',
      'needs enable_ipv4: true',
    ],
    ['ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: 10.1.0.0/25 } ] }', 'overlaps'],
    ['driver_opts: { com.docker.network.driver.mtu: 67 }', 'from 68 to 65521, got 67'],
    ['driver_opts: { com.docker.network.driver.mtu: 65522 }', 'from 68 to 65521'],
    ['driver_opts: { com.docker.network.driver.mtu: "1500 " }', 'expected a whole number'],
    ['driver_opts: { tapline.offload: maybe }', 'expected "true" or "false", got "maybe"'],
    [
      '{ enable_ipv6: true, driver_opts: { com.docker.network.driver.mtu: 1279 } }',
      'from 1280 to 65521',
    ],
  ])('%s', (network, fault) => {
    const text = network.startsWith('{')
      ? faults(`name: t\nnetworks:\n  n: ${network}`)
      : inNetwork(network)
    expect(text).toHaveLength(1)
    expect(text[0]).toMatch(new RegExp(fault))
  })

  it('may not overlap', () => {
    const rest = '  m: { ipam: { config: [ { subnet: 10.1.128.0/17 } ] } }'
    expect(inNetwork('ipam: { config: [ { subnet: 10.1.0.0/16 } ] }', rest)).toEqual([
      'f.yaml:5:36: 10.1.128.0/17 overlaps 10.1.0.0/16 of network "n"',
    ])
  })

  it('may overlap where the node is no gateway, and no sandbox is on both', () => {
    const net = (name: string, options: string): string =>
      `  ${name}: { ${options}, ipam: { config: [ { subnet: 10.1.0.0/24 } ] } }`
    const bare = 'internal: true, driver_opts: { tapline.gateway: "false" }'
    const two = `name: t\nnetworks:\n${net('a', bare)}\n${net('b', bare)}\n`
    expect(faults(two)).toEqual([])
    expect(faults(`name: t\nnetworks:\n${net('a', bare)}\n${net('b', 'internal: true')}`)).toEqual(
      [],
    )
    const [both] = faults(`${two}sandboxes: { s: { networks: [ a, b ] } }`)
    expect(both).toContain('a sandbox cannot be on both')
    const [open] = faults(`name: t\nnetworks: { a: { driver_opts: { tapline.gateway: "false" } } }`)
    expect(open).toContain('needs "internal: true"')
    const told = 'internal: true, driver_opts: { tapline.gateway: "false", tapline.dhcp: "true" }'
    expect(faults(`name: t\nnetworks: { a: { ${told} } }`)[0]).toContain('with a gateway')
    const service = 'services: { w: { network: a, ports: [ "80" ], backends: [ s ] } }'
    const rest = `sandboxes: { s: { networks: [ a ] } }\n${service}`
    expect(faults(`${two}${rest}`)[0]).toContain('needs a gateway; network "a" has none')
  })

  it('have names that are host labels and not reserved', () => {
    expect(faults('name: t\nnetworks: { -a: }')[0]).toMatch(/^f.yaml:2:13: "-a" is not a name/)
    expect(faults(`name: t\nnetworks: { ${'x'.repeat(64)}: }`)[0]).toMatch(/is not a name/)
    expect(faults(`name: t\nnetworks: { ${'x'.repeat(63)}: }`)).toEqual([])
    expect(faults('name: t\nnetworks: { host: }')[0]).toMatch(/reserved for network_mode: host/)
  })
})

describe('endpoints', () => {
  it.each([
    ['ipv4_address: 10.1.1.5', '10.1.1.5 is not in 10.1.0.0/24 of network "n"'],
    ['ipv4_address: 10.1.0.1', '10.1.0.1 is taken by the gateway on network "n"'],
    ['ipv4_address: 10.1.0.0', 'is the network or broadcast address of 10.1.0.0/24'],
    ['ipv4_address: 10.1.0.255', 'is the network or broadcast address of 10.1.0.0/24'],
    ['ipv4_address: "fd00::5"', '"fd00::5" is not an IPv4 address'],
    ['ipv4_address: 10.1', 'expected a string, got 10.1; put it in quotes'],
    ['ipv6_address: "fd00::"', 'is the network or broadcast address'],
    ['ipv6_address: "fd00::1"', 'fd00::1 is taken by the gateway'],
    ['ipv6_address: "fd01::1"', 'is not in fd00::/64'],
    ['mac_address: "01:00:00:00:00:01"', 'is a group address'],
    ['mac_address: "00:00:00:00:00:00"', 'all-zero'],
    ['mac_address: "02:00:00:00:00"', 'is not a MAC address'],
    ['aliases: [ "a b" ]', '"a b" is not an alias'],
    ['interface_name: abcdefghijklmnop', 'is not an interface name: at most 15'],
    ['interface_name: lo', 'is not an interface name'],
    ['interface_name: a/b', 'is not an interface name'],
    ['driver_opts: { tapline.mtu: 9000 }', 'from 1280 to 1500, got 9000'],
    ['driver_opts: { tapline.vlan_pvid: 10 }', 'no effect without "tapline.vlan_filtering: true"'],
    ['driver_opts: { tapline.storm_broadcast: -1 }', 'expected a whole number'],
  ])('%s', (endpoint, fault) => {
    const list = inEndpoint(endpoint)
    expect(list).toHaveLength(1)
    expect(list[0]).toMatch(fault)
  })

  it('of VLANs take numbers from 1 to 4094', () => {
    const list = (opts: string): string[] =>
      faults(`name: t
networks: { n: { driver_opts: { tapline.vlan_filtering: true } } }
sandboxes: { s: { networks: { n: { driver_opts: { ${opts} } } } } }`)
    expect(list('tapline.vlan_tagged: "10,4095"')[0]).toMatch(/VLAN numbers from 1 to 4094/)
    expect(list('tapline.vlan_pvid: 0')[0]).toMatch(/from 1 to 4094, got 0/)
    expect(list('tapline.vlan_tagged: 10')).toEqual([])
  })

  it('need what they ask for', () => {
    const list = (network: string, endpoint: string): string[] =>
      faults(
        `name: t\nnetworks: { n: ${network} }\nsandboxes: { s: { networks: { n: ${endpoint} } } }`,
      )
    expect(list('{}', '{ ipv4_address: 10.0.0.2 }')[0]).toMatch(/needs a subnet under ipam.config/)
    expect(list('{}', '{ ipv6_address: "fd00::2" }')[0]).toMatch(/needs enable_ipv6: true/)
    expect(list('{ driver: "null" }', '{ mac_address: "02:00:00:00:00:01" }')[0]).toMatch(
      /driver "null" gives a sandbox no interface/,
    )
  })
})

describe('sandboxes', () => {
  const two = (a: string, b: string): string[] =>
    faults(`name: t
networks: { n: { ipam: { config: [ { subnet: 10.1.0.0/24 } ] } }, m: , z: { driver: "null" } }
sandboxes:
  a: ${a}
  b: ${b}`)

  it.each([
    [
      '{ networks: { n: { ipv4_address: 10.1.0.5 } } }',
      'f.yaml:5:39: 10.1.0.5 is taken by sandbox "a"',
    ],
    [
      '{ networks: { n: { mac_address: "02:00:00:00:00:05" } } }',
      'is taken by sandbox "a" on this',
    ],
    ['{ netns: a }', 'namespace "a" is that of sandbox "a"; "network_mode: container:a" shares it'],
    ['{ networks: [ n, n ] }', 'network "n" is given twice'],
    ['{ networks: { n: , m: { interface_name: eth0 } } }', 'interface "eth0" is given twice'],
    ['{ networks: [ n ], network_mode: none }', '"networks" or "network_mode", not both'],
    ['{ netns: x, network_mode: host }', 'has the stack of the host and no namespace of its own'],
    ['{ netns: x, network_mode: "container:a" }', 'has the stack of another sandbox'],
    ['{ network_mode: bridge }', '"bridge" is not a network mode'],
    ['{ network_mode: "container:c" }', 'there is no sandbox "c"'],
    ['{ network_mode: "container:b" }', 'cannot share its own stack'],
    ['{ networks: [ n, z ] }', 'must be the only network of a sandbox'],
    ['{ networks: 7 }', 'expected a list or a mapping of networks, got 7'],
    ['{ netns: ".." }', '".." is not a namespace'],
    ['{ netns: "pid:0" }', 'is not a namespace'],
  ])('%s', (b, fault) => {
    const list = two(
      '{ networks: { n: { ipv4_address: 10.1.0.5, mac_address: "02:00:00:00:00:05" } } }',
      b,
    )
    expect(list.length).toBeGreaterThan(0)
    expect(list.join('\n')).toContain(fault)
  })

  it('cannot share a stack that is itself shared', () => {
    const text = two('{ network_mode: "container:b" }', '{ network_mode: "container:c" }\n  c: {}')
    expect(text[0]).toMatch(/sandbox "b" has no stack of its own/)
  })

  it('must be there for a network that says so, whoever uses it', () => {
    const { faults } = parseConfig(
      `name: t
networks:
  n: { driver: container, driver_opts: { tapline.sandbox: wbe } }
sandboxes: { web: {}, side: { networks: [ n ] } }
`,
      'f.yaml',
    )
    const unused = parseConfig(
      'name: t\nnetworks: { n: { driver: container, driver_opts: { tapline.sandbox: x } } }',
      'f.yaml',
    )
    expect(faults.map(({ line, column, message }) => `${line}:${column} ${message}`)).toEqual([
      '3:59 there is no sandbox "wbe"; did you mean "web"?',
    ])
    expect(unused.faults).toMatchObject([{ line: 2, message: expect.stringContaining('"x"') }])
  })

  it('may share one stack, several of them', () => {
    expect(
      two('{}', '{ network_mode: "container:a" }\n  c: { network_mode: "container:a" }'),
    ).toEqual([])
  })
})

describe('routes', () => {
  it.each([
    ['{ to: 10.9.0.0/16 }', 'has either "via: ADDRESS" or "blackhole: true"'],
    ['{ to: 10.9.0.0/16, via: 10.1.0.5, blackhole: true }', 'has either'],
    ['{ to: 10.9.0.0/16, via: "fd00::1" }', 'is not an IPv4 address'],
    ['{ to: 10.9.0.0/16, via: 10.7.0.5 }', '10.7.0.5 is not on any network of this file'],
    ['{ to: 10.9.0.0/16, via: 10.1.0.1 }', "is the router's own address"],
    ['{ to: 10.9.0.1/16, via: 10.1.0.5 }', 'has host bits set'],
    ['{ to: 10.1.0.0/24, blackhole: true }', 'is network "n" itself'],
    ['{ to: 10.9.0.0/16, via: 10.2.0.5 }', 'is internal'],
    ['{ via: 10.1.0.5 }', '"to" is missing'],
  ])('%s', (route, fault) => {
    const list = faults(`name: t
networks:
  n: { ipam: { config: [ { subnet: 10.1.0.0/24 } ] } }
  i: { internal: true, ipam: { config: [ { subnet: 10.2.0.0/24 } ] } }
routes: [ ${route} ]`)
    expect(list).toHaveLength(1)
    expect(list[0]).toContain(fault)
  })

  it('are given once a destination', () => {
    const twice = '{ to: 10.9.0.0/16, blackhole: true }, { to: 10.9.0.0/16, blackhole: true }'
    expect(faults(`name: t\nroutes: [ ${twice} ]`)).toEqual([
      expect.stringContaining('there is already a route to 10.9.0.0/16'),
    ])
  })
})

describe('garbage', () => {
  it('is told, never thrown', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (text) => {
        expect(parseConfig(text, 'f').faults.length).toBeGreaterThan(0)
      }),
      { numRuns: 300 },
    )
  })

  it('of any shape of value is told, never thrown', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.constantFrom(...KEYS), (value, key) => {
        const file = { name: 't', networks: { n: {} }, sandboxes: { s: { networks: ['n'] } } }
        const text = JSON.stringify({ ...file, [key]: value })
        for (const fault of parseConfig(text, 'f').faults) expect(fault.line).toBeGreaterThan(0)
      }),
      { numRuns: 200 },
    )
  })

  it('in place of any part of a good file is told at a place in the file', () => {
    const lines = SHOP.split('\n').length
    fc.assert(
      fc.property(
        fc.nat(SHOP.length - 1),
        fc.nat(12),
        fc.string({ maxLength: 6 }),
        (at, cut, junk) => {
          const text = SHOP.slice(0, at) + junk + SHOP.slice(at + cut)
          for (const { line, column, message } of parseConfig(text, 'f').faults) {
            expect(line).toBeLessThanOrEqual(lines + 6)
            expect(column).toBeGreaterThan(0)
            expect(message).not.toContain('undefined')
          }
        },
      ),
      { numRuns: 300 },
    )
  })
})

const KEYS = ['name', 'networks', 'sandboxes', 'routes'] as const
