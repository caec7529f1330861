/** Files about several hosts: what is read, and what is wrong with them, at its place. */
import { describe, expect, it } from 'vitest'
import { formatFault, parseConfig } from '../../services/config/parse.ts'

const VNI = 'com.docker.network.driver.overlay.vxlanid_list'
const NODE = 'node: { name: n1, underlay: { address: 10.200.0.1 }, peers: [ 10.200.0.2 ] }'

function faults(text: string): string[] {
  return parseConfig(text, 'f.yaml').faults.map(formatFault)
}

/** Faults of an overlay network with these further keys, each on a line of its own from line 4. */
function inNetwork(...keys: string[]): string[] {
  const lines = keys.map((key) => `    ${key}`).join('\n')
  const opts = keys.some((key) => key.startsWith('driver_opts'))
    ? ''
    : `\n    driver_opts: { ${VNI}: "7" }`
  const list = lines.replace(/$/gm, ',')
  const rest = `    driver: overlay${opts && `,${opts}`} } }`
  return faults(`name: t\n${NODE}\nnetworks: { n: {\n${list}\n${rest}`)
}

describe('node', () => {
  it('has defaults', () => {
    const { config } = parseConfig(`name: t\n${NODE}\n`, 'f.yaml')
    expect(config?.node).toMatchObject({
      name: 'n1',
      underlay: { udpPort: 4789, mtuBytes: 1500, interfaceName: undefined, hopLimit: undefined },
      gossip: undefined,
    })
    expect(config?.node?.peers).toHaveLength(1)
  })

  it('reads where to gossip', () => {
    const join = '[ 10.200.0.2, "n3.lan:7000", "[fd00::3]:1" ]'
    const gossip = `{ join: ${join}, keys_file: k, endpoint_timeout: 5m, label: x }`
    const text = `name: t\nnode: { name: a, underlay: { address: 10.200.0.1 }, gossip: ${gossip} }`
    expect(parseConfig(text, 'f.yaml').config?.node?.gossip).toEqual({
      bind: { host: '10.200.0.1', port: 7946 },
      advertise: undefined,
      join: [
        { host: '10.200.0.2', port: 7946 },
        { host: 'n3.lan', port: 7000 },
        { host: 'fd00::3', port: 1 },
      ],
      keysFile: 'k',
      label: 'x',
      endpointTimeoutMs: 300_000,
    })
  })

  it('keeps endpoints of the dead for a minute where the file does not say', () => {
    const text = 'name: t\nnode: { name: a, underlay: { address: 10.200.0.1 }, gossip: {} }'
    expect(parseConfig(text, 'f.yaml').config?.node?.gossip?.endpointTimeoutMs).toBe(60_000)
  })

  it('has gossip with the defaults where the file gives it no value', () => {
    const node = 'node: { name: a, underlay: { address: 10.200.0.1 }, gossip: }'
    expect(parseConfig(`name: t\n${node}`, 'f.yaml').config?.node?.gossip).toMatchObject({
      bind: { host: '10.200.0.1', port: 7946 },
      join: [],
      label: '',
    })
  })

  it('with a fault in it is not said to be missing', () => {
    const node = 'node: { name: a, underlay: { address: 10.0.0.1 }, gossip: { x: 1 } }'
    const back = `networks: { back: { driver: overlay, driver_opts: { ${VNI}: 7 } } }`
    const list = faults(`name: t\n${node}\n${back}`)
    expect(list).toHaveLength(1)
    expect(list[0]).toContain('"x"')
    expect(faults(`name: t\nnode:\n${back}`)).toEqual([
      'f.yaml:2:1: "name" is missing',
      'f.yaml:2:1: "underlay" is missing',
    ])
    expect(faults(`name: t\n${back}`).join()).toContain('driver "overlay" needs "node" at the top')
  })

  it('is encrypted as `docker network create -o encrypted` writes it', () => {
    const node = 'node: { name: a, underlay: { address: 10.0.0.1, keys_file: k } }'
    const back = `{ driver: overlay, driver_opts: { ${VNI}: 7, encrypted: "" } }`
    const { config } = parseConfig(`name: t\n${node}\nnetworks: { back: ${back} }`, 'f.yaml')
    expect(config?.networks[0]).toMatchObject({
      overlay: { encrypted: true },
      options: { mtuBytes: 1418 },
    })
  })

  it.each([
    ['{ underlay: { address: 10.0.0.1 } }', '"name" is missing'],
    ['{ name: a }', '"underlay" is missing'],
    ['{ name: a, underlay: { address: 10.0.0.1 }, peers: [ 10.0.0.1 ] }', "this node's own"],
    ['{ name: a, underlay: { address: 10.0.0.1 }, peers: [ fd00::1 ] }', 'not an IPv4 address'],
    ['{ name: a, underlay: { address: 10.0.0.1 }, peers: [ 239.1.1.1 ] }', 'multicast group'],
    ['{ name: a, underlay: { address: 10.0.0.1 }, peers: [ 10.0.0.2, 10.0.0.2 ] }', 'already'],
    ['{ name: a, underlay: { address: 10.0.0.1, port: 0 } }', 'at least 1'],
    ['{ name: a, underlay: { address: 10.0.0.1, ttl: 256 } }', '255'],
    ['{ name: a, underlay: { address: 10.0.0.1 }, gossip: { bind: "n1:7946" } }', 'not an address'],
    ['{ name: a, underlay: { address: 10.0.0.1 }, gossip: { join: [ "x:99999" ] } }', 'a name'],
    ['{ name: a, underlay: { address: 10.0.0.1 }, gossip: { endpoint_timeout: 25h } }', '"24h"'],
    ['{ name: a, underlay: { address: 10.0.0.1 }, gossip: { endpoint_timeout: 10ms } }', '"1s"'],
    ['{ name: a, underlay: { address: 10.0.0.1 }, gossip: { label: "" } }', '1 to 255 octets'],
    ['{ name: a, underlay: { adress: 10.0.0.1 } }', 'did you mean "address"'],
  ])('%s', (node, fault) => {
    const text = faults(`name: t\nnode: ${node}`)
    expect(text[0]).toMatch(/^f.yaml:2:\d+: /)
    expect(text.join('\n')).toContain(fault)
  })
})

describe('overlay', () => {
  it('has the MTU that fits, and the peers of its node', () => {
    const net = `networks: { n: { driver: overlay, driver_opts: { ${VNI}: 7 } } }`
    const four = parseConfig(`name: t\n${NODE}\n${net}`, 'f.yaml').config?.networks[0]
    expect(four?.options.mtuBytes).toBe(1450)
    expect(four?.overlay?.peers).toHaveLength(1)
    const six = `name: t\nnode: { name: a, underlay: { address: fd00::1, mtu: 9000 } }\n${net}`
    expect(parseConfig(six, 'f.yaml').config?.networks[0]?.options.mtuBytes).toBe(8930)
  })

  it.each([
    [['driver_opts: {}'], 'needs "com.docker'],
    [[`driver_opts: { ${VNI}: "7,8" }`], 'one VNI is all'],
    [[`driver_opts: { ${VNI}: "16777216" }`], 'from 1 to 16777215'],
    [[`driver_opts: { ${VNI}: 7, com.docker.network.driver.mtu: 1451 }`], 'at most 1450'],
    [[`driver_opts: { ${VNI}: 7, tapline.vlan_vni: "10:8" }`], 'needs "tapline.vlan_filtering'],
    [
      [`driver_opts: { ${VNI}: 7, tapline.vlan_filtering: true, tapline.vlan_vni: "10:7" }`],
      'VNI 7 is that of network "n"',
    ],
    [[`driver_opts: { ${VNI}: 7, tapline.vxlan_group: 10.0.0.1 }`], 'expected a multicast group'],
    [[`driver_opts: { ${VNI}: 7, tapline.vxlan_dscp: 64 }`], 'a DSCP from 0 to 63'],
    [['peers: [ 10.200.0.1 ]'], "this node's own"],
    [['remote: [ { vtep: 10.200.0.2 } ]'], '"mac" is missing'],
    [['remote: [ { vtep: 10.200.0.1, mac: "02:00:00:00:00:01" } ]'], "this node's own"],
    [
      [
        'remote: [ { vtep: 10.200.0.2, mac: "02:00:00:00:00:01" }, ' +
          '{ vtep: 10.200.0.2, mac: "02:00:00:00:00:01" } ]',
      ],
      'is taken by the endpoint at 10.200.0.2',
    ],
    [
      [
        'ipam: { config: [ { subnet: 10.2.0.0/24 } ] }',
        'remote: [ { vtep: 10.200.0.2, mac: "02:00:00:00:00:01", ipv4_address: 10.2.0.1 } ]',
      ],
      '10.2.0.1 is taken by the gateway',
    ],
    [
      [
        'ipam: { config: [ { subnet: 10.2.0.0/24 } ] }',
        'remote: [ { vtep: 10.200.0.2, mac: "02:00:00:00:00:01", ipv4_address: 10.3.0.2 } ]',
      ],
      'is on no subnet of network "n"',
    ],
  ])('%j', (keys, fault) => {
    const text = inNetwork(...keys)
    expect(text).toHaveLength(1)
    expect(text[0]).toMatch(/^f.yaml:[34567]:\d+: /)
    expect(text[0]).toContain(fault)
  })

  it('goes with a node, and its keys with it', () => {
    const bridge = `driver_opts: { ${VNI}: 7 }, peers: [ 10.0.0.1 ]`
    expect(faults(`name: t\nnetworks: { n: { ${bridge} } }`)).toEqual([
      `f.yaml:2:33: "${VNI}" goes with driver overlay only`,
      'f.yaml:2:86: "peers" goes with driver overlay only',
    ])
    const two = `networks: { a: { driver: overlay, driver_opts: { ${VNI}: 7 } },
      b: { driver: overlay, driver_opts: { ${VNI}: 7 } } }`
    expect(faults(`name: t\n${NODE}\n${two}`)).toEqual([
      'f.yaml:4:92: VNI 7 is that of network "a"',
    ])
  })
})
