/** Policy and rates as a file has them: faults, what they come to, and applying them. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { formatFault, parseConfig } from '../../services/config/parse.ts'
import { plan } from '../../services/plan.ts'
import { EMPTY } from '../../services/state.ts'
import { frame, udp } from '../ip/lab.ts'
import { config } from './generate.ts'
import { Rig } from './rig.ts'

function faults(endpoint: string, network = ''): string[] {
  const text = `name: t
networks:
  n: { ${network} }
  m: { driver: 'null' }
sandboxes:
  s: { networks: { n: { ${endpoint} } } }`
  return parseConfig(text, 'f').faults.map(formatFault)
}

it('is what the documentation shows', () => {
  const page = readFileSync(new URL('../../docs/policy.md', import.meta.url), 'utf8')
  const [, example] = /```yaml\n(.*?)```/s.exec(page)!
  const { config: shop, faults: list } = parseConfig(example!, 'policy.md')
  expect(list).toEqual([])
  const { policy, rate } = plan(shop!, EMPTY).endpoints.get('db/back')!
  expect(policy!.ingress.rules).toHaveLength(2)
  expect(policy!.ingress.otherwise).toBe(false)
  expect(policy!.egress.rules.map(({ text }) => text)).toEqual([
    'rule 1 of the endpoint (deny udp to 0.0.0.0/0)',
  ])
  expect(rate.egress?.bitsPerS).toBe(40_000_000)
})

describe('a fault', () => {
  const rule = (text: string): string => `policy: { ingress: [ { ${text} } ] }`
  it.each<[string, string]>([
    ['policy: 1', 'f:6:33: expected a mapping, got 1'],
    ['policy: { ingres: [] }', 'f:6:35: unknown key "ingres"; did you mean "ingress"?'],
    ['policy: { ingress: { action: allow } }', 'f:6:44: expected a list of rules, got a mapping'],
    ['policy: { default_egress: no }', 'f:6:51: "no" is not one of allow, deny'],
    [rule('from: n'), 'f:6:46: "action" is missing'],
    [rule('action: alow'), 'f:6:56: "alow" is not one of allow, deny; did you mean "allow"?'],
    [
      rule('action: deny, to: n'),
      'f:6:62: unknown key "to"; known here: action, protocol, ports, from',
    ],
    [rule('action: deny, port: 80'), 'f:6:62: unknown key "port"; did you mean "ports"?'],
    [
      rule('action: deny, from: 10.1.0.5/24'),
      'f:6:68: "10.1.0.5/24" has host bits set; "10.1.0.0/24" would be right',
    ],
    [rule('action: deny, from: [n, nn]'), 'f:6:72: there is no network "nn"; did you mean "n"?'],
    [rule('action: deny, from: m'), 'f:6:68: network "m" has no addresses: its driver is "null"'],
    [rule('action: deny, from: []'), 'f:6:68: expected at least 1, got a list'],
    [rule('action: deny, from: 300.1.1.1'), 'f:6:68: "300.1.1.1" is not an IPv4 or IPv6 address'],
    [
      rule('action: deny, ports: 0'),
      'f:6:69: "0" is not a port from 1 to 65535 or a range, such as "8000-8100"',
    ],
    [
      rule('action: deny, ports: [1, 9-8]'),
      'f:6:73: "9-8" is not a port from 1 to 65535 or a range, such as "8000-8100"',
    ],
    [
      rule('action: deny, protocol: icmp, ports: 8'),
      'f:6:78: "ports" goes with protocol tcp, udp or sctp',
    ],
    ['rate: { ingress: {} }', 'f:6:42: a rate has "bits_per_s", "packets_per_s" or both'],
    [
      'rate: { ingress: { bits_per_s: 10mb } }',
      'f:6:56: "10mb" is not a rate from 1kbit to 10tbit, such as "10mbit" or 10000000',
    ],
    [
      'rate: { egress: { bits_per_s: 1mbit, burst: 2m } }',
      'f:6:69: "2m" is not between 1ms and 1m',
    ],
    [
      'rate: { out: { bits_per_s: 1mbit } }',
      'f:6:33: unknown key "out"; known here: ingress, egress',
    ],
  ])('%s', (endpoint, fault) => {
    expect(faults(endpoint)).toEqual([fault])
  })

  it('is told of a trunk, and of a driver without interfaces', () => {
    const trunk = 'driver_opts: { tapline.vlan_tagged: "10" }, policy: {}'
    const filtering = 'driver_opts: { tapline.vlan_filtering: "true" }'
    expect(faults(trunk, filtering)).toEqual([
      'f:6:69: a policy does not look into tagged frames: it cannot be that of a trunk',
    ])
    expect(faults('rate: { egress: { packets_per_s: 5 } }', 'driver: host, policy: {}')).toEqual([
      'f:3:22: driver "host" gives a sandbox no interface to watch; leave this out',
      'f:6:25: driver "host" gives a sandbox no interface to watch; leave this out',
    ])
  })
})

describe('the policy of an endpoint', () => {
  const isolated = { 'com.docker.network.bridge.gateway_mode_ipv4': 'isolated' }

  function policyOf(own: object | undefined, network: object): unknown {
    const file = {
      name: 't',
      networks: {
        n: { ipam: { config: [{ subnet: '10.1.0.0/24' }] }, ...network },
        m: {
          enable_ipv6: true,
          ipam: { config: [{ subnet: '10.2.0.0/24' }, { subnet: 'fd00:2::/64' }] },
        },
      },
      sandboxes: { s: { networks: { n: own === undefined ? {} : { policy: own } } } },
    }
    const policy = plan(config(file), EMPTY).endpoints.get('s/n')!.policy
    const way = (list: NonNullable<typeof policy>['egress']) => [
      ...list.rules.map(({ text, far }) => `${text} ${far.length}`),
      `${list.otherwise ? 'allow' : 'deny'} by ${list.text}`,
    ]
    return policy && { ingress: way(policy.ingress), egress: way(policy.egress) }
  }

  it("is its own rules, then its network's, then what is left", () => {
    const own = {
      ingress: [{ action: 'deny', from: 'm', ports: [80, '90-99'] }],
      default_egress: 'deny',
    }
    const network = {
      ingress: [{ action: 'allow', protocol: 'icmp', from: ['10.9.0.1', 'fd00::/8'] }],
      egress: [{ action: 'allow' }],
      default_ingress: 'deny',
      default_egress: 'allow',
    }
    expect(policyOf(own, { policy: network })).toEqual({
      ingress: [
        'rule 1 of the endpoint (deny from m ports 80, 90-99) 2',
        'rule 1 of network n (allow icmp from 10.9.0.1, fd00::/8) 2',
        'deny by the default of network n',
      ],
      egress: ['rule 1 of network n (allow) 0', 'deny by the default of the endpoint'],
    })
  })

  it('denies by default on an isolated network, and there is none where none is written', () => {
    expect(policyOf(undefined, {})).toBeUndefined()
    expect(policyOf(undefined, { internal: true, driver_opts: isolated })).toBeUndefined()
    expect(policyOf({}, {})).toEqual({
      ingress: ['allow by the default of all policies'],
      egress: ['allow by the default of all policies'],
    })
    expect(policyOf({}, { internal: true, driver_opts: isolated })).toEqual({
      ingress: ['deny by the default of isolated networks'],
      egress: ['deny by the default of isolated networks'],
    })
  })
})

describe('on a live node', () => {
  const file = (web: object) => ({
    name: 't',
    networks: { n: { ipam: { config: [{ subnet: '10.1.0.0/24' }] } } },
    sandboxes: { web: { networks: { n: web } }, db: { networks: ['n'] } },
  })

  it('they are exchanged in place, shown, explained and counted', async () => {
    const rig = new Rig()
    await rig.apply(file({}))
    const { mac } = rig.request('web/eth0')
    const ask = (): number => {
      rig.quiet()
      const ip = udp({ from: '10.1.0.3', to: '10.1.0.2' }, { to: 53 }, new Uint8Array(30))
      const bytes = frame(mac, ip)
      const source = rig.request('db/eth0').mac
      new DataView(bytes.buffer).setUint16(6, source.hi)
      new DataView(bytes.buffer).setUint32(8, source.lo)
      rig.inject('db/eth0', bytes)
      return rig.received('web/eth0').length
    }
    expect([ask(), ask()]).toEqual([1, 1])
    const policy = { ingress: [{ action: 'deny', protocol: 'udp', ports: 53 }] }
    const rate = { ingress: { packets_per_s: 10, burst: '200ms' } }
    expect(await rig.apply(file({ policy }))).toEqual(['update web/n'])
    expect([ask(), ask()]).toEqual([0, 0])
    expect(rig.controller.drops().map(({ reason, count }) => `${reason} ${count}`)).toContain(
      'policy-denied 2',
    )
    const steps = rig.controller.trace({ from: 'db', to: '10.1.0.2', proto: 'udp', dport: 53 })
    expect(steps.steps.at(-1)).toEqual({
      element: 'policy web/eth0',
      text: 'ingress: denied by rule 1 of the endpoint (deny udp port 53)',
    })
    expect(await rig.apply(file({ rate }))).toEqual(['update web/n'])
    expect([ask(), ask(), ask()]).toEqual([1, 1, 0])
    rig.pass(100)
    expect([ask(), ask()]).toEqual([1, 0])
    const [web] = rig.controller.inspect('web').sandboxes
    expect(web!.endpoints[0]).toMatchObject({
      policy: null,
      rate: { ingress: '10 packets/s, bursts of 200 ms', egress: null },
    })
    const limited = rig.controller.trace({ from: 'db', to: '10.1.0.2' })
    expect(limited.steps.at(-1)).toEqual({
      element: 'rate web/eth0',
      text: 'ingress 10 packets/s, bursts of 200 ms, would drop it now',
    })
    expect(limited.ends).toEqual([{ verdict: 'dropped', detail: 'rate-limited' }])
    expect(await rig.apply(file({}))).toEqual(['update web/n'])
    expect([ask(), ask(), ask()]).toEqual([1, 1, 1])
    await rig.finish()
  })
})
