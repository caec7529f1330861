/** What a file may say of names. */
import { describe, expect, it } from 'vitest'
import { DEFAULT_DNS } from '../../../services/config/dns_model.ts'
import { parseConfig } from '../../../services/config/parse.ts'
import { formatServer } from '../../../services/dns/host.ts'
import { formatName, parseName } from '../../../services/dns/name.ts'
import { formatResolvConf, parseResolvConf } from '../../../services/dns/resolv_conf.ts'
import { formatAddress } from '../../../stack/address.ts'

function read(yaml: string) {
  const { config, faults } = parseConfig(`name: t\n${yaml}`, 'f')
  return { dns: config?.dns, faults: faults.map(({ line, message }) => `${line}: ${message}`) }
}

describe('a file', () => {
  it('that says nothing has the defaults', () => {
    expect(read('')).toEqual({ dns: DEFAULT_DNS, faults: [] })
  })

  it('is read in full', () => {
    const { dns, faults } = read(`
dns:
  ttl: 0s
  loopback: false
  forwarders: [ 192.0.2.53, "192.0.2.54:5353", "[2001:db8::53]:54", "2001:db8::54" ].slice
`)
    expect(dns).toBeUndefined()
    expect(faults[0]).toMatch(/not YAML/)
    const good = read(`
networks: { front: { dns: 192.0.2.60 } }
sandboxes:
  web:
    networks: [ front ]
    dns: [ 192.0.2.61 ]
    dns_search: lan.example
    dns_opt: [ "ndots:1", rotate ]
    extra_hosts: { db: 192.0.2.7, both: [ 192.0.2.8, "2001:db8::8" ] }
  app: { extra_hosts: [ "a=192.0.2.9", "six=[2001:db8::9]", "old:192.0.2.10" ] }
dns:
  ttl: 0s
  forwarders: [ "192.0.2.54:5353", "[2001:db8::53]:54", "2001:db8::54" ]
  strategy: parallel
  zones: { corp.example: [ 10.9.0.53 ], nobody: [] }
`)
    expect(good.faults).toEqual([])
    const servers = good.dns!.servers!.map((server) =>
      formatServer({ ...server, netns: undefined }),
    )
    expect(servers).toEqual(['192.0.2.54:5353', '[2001:db8::53]:54', '2001:db8::54'])
    expect(good.dns).toMatchObject({ ttlS: 0, strategy: 'parallel' })
    expect(good.dns!.zones.map(({ zone }) => formatName(zone))).toEqual(['corp.example', 'nobody'])
    const [web, app] = good.dns!.sandboxes
    expect(web).toMatchObject({ search: ['lan.example'], options: ['ndots:1', 'rotate'] })
    const hosts = [...web!.hosts, ...app!.hosts]
    expect(hosts.map((h) => `${formatName(h.name)} ${formatAddress(h.address)}`)).toEqual([
      'db 192.0.2.7',
      'both 192.0.2.8',
      'both 2001:db8::8',
      'a 192.0.2.9',
      'six 2001:db8::9',
      'old 192.0.2.10',
    ])
  })

  it.each([
    ['dns: { forwarders: [ "example" ] }', /is not an IPv4 or IPv6 address/],
    ['dns: { forwarders: [ "192.0.2.1:0" ] }', /is not a port/],
    ['dns: { forwarders: [ 1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4 ] }', /at most 3/],
    ['dns: { ttl: 9000h }', /out of range/],
    ['dns: { zones: { "a..b": [] } }', /a label is empty/],
    ['dns: { zones: { x: 192.0.2.1 } }', /expected a list/],
    ['dns: { tll: 5s }', /did you mean "ttl"/],
    ['sandboxes: { s: { dns_opt: [ "n dots" ] } }', /not an option of resolv.conf/],
    ['sandboxes: { s: { dns_opt: [ bogus ] } }', /"bogus" is not an option of resolv.conf/],
    ['sandboxes: { s: { dns_opt: [ rotat ] } }', /did you mean "rotate"/],
    ['sandboxes: { s: { extra_hosts: [ "nothing" ] } }', /no host, such as "db=192.0.2.7"/],
  ])('is refused: %s', (yaml, fault) => {
    const { faults } = read(yaml)
    expect(faults).toHaveLength(1)
    expect(faults[0]).toMatch(fault)
  })
})

it('tells a fault of a zone beside others', () => {
  const { faults } = read('dns: { tll: 5s, zones: { "a..b": [], "c..d": 192.0.2.1 } }')
  expect(faults).toHaveLength(4)
  expect(faults.filter((fault) => fault.includes('a label is empty'))).toHaveLength(2)
})

describe('resolv.conf', () => {
  it('is read as C libraries read it', () => {
    const text =
      '# x\nnameserver 192.0.2.1 # y\n;z\nnameserver fe80::1%eth0\nsearch a.b c\noptions z'
    const { servers, search } = parseResolvConf(`${text}\nnameserver ::1\nnonsense\n`)
    expect(servers.map(formatAddress)).toEqual(['192.0.2.1', '::1'])
    expect(search).toEqual(['a.b', 'c'])
    expect(parseResolvConf('')).toEqual({ servers: [], search: [] })
  })

  it('is written so that it reads the same', () => {
    const { servers } = parseResolvConf('nameserver 127.0.0.11')
    const text = formatResolvConf({ servers, search: ['lan'], options: ['ndots:0'] })
    expect(text).toBe('# Made by tapline\nnameserver 127.0.0.11\nsearch lan\noptions ndots:0\n')
    expect(parseResolvConf(text)).toEqual({ servers, search: ['lan'] })
  })
})

it.each([['web'], ['a.b.c'], ['.'], ['x\\.y.z'], ['\\000\\255.z']])(
  'reads and writes %s',
  (text) => {
    expect(formatName(parseName(text))).toBe(text)
  },
)
