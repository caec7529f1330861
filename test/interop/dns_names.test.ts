/**
 * A thousand names on a handful of namespaces, asked by dig, kdig and libc: all must say what the
 * tables (`tapline dns`) say. And as many of a forwarder inside, asked a hundred at a time: each
 * must get the answer to its own question.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { NamesView } from '../../services/views_dns.ts'
import { Random } from '../../stack/random.ts'
import { hasTool, Lab, until } from '../netns/lab.ts'

const RNG = 20_261_129
const SAMPLE = 60
const HOLDERS = 6
const FRONT_NAMES = 140
const BACK_NAMES = 30
/** Each is an alias of two holders. */
const SHARED_NAMES = 20
/** Of holder 1, where a server for other names runs. */
const UPSTREAM = '10.1.0.21'
const FAR_NAMES = 1000
const FAR_ROUNDS = 3
const tools =
  hasTool('dig', 'bind9-dnsutils') &&
  hasTool('kdig', 'knot-dnsutils') &&
  hasTool('dnsperf', 'dnsperf') &&
  hasTool('dnsmasq', 'dnsmasq-base')

function aliases(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}`)
}

function holder(lab: Lab, number: number): string {
  const shared = aliases('shared', SHARED_NAMES).filter((_, i) => i % 3 === number % 3)
  const front = JSON.stringify([...aliases(`f${number}-`, FRONT_NAMES), ...shared])
  const back = JSON.stringify(aliases(`b${number}-`, BACK_NAMES))
  const addresses = `ipv4_address: 10.1.0.${20 + number}, ipv6_address: "fd00:1::2${number}"`
  return `  h${number}:
    netns: ${lab.ns(`h${number}`)}
    networks:
      front: { ${addresses}, aliases: ${front} }
      back: { ipv4_address: 10.2.0.${20 + number}, aliases: ${back} }`
}

function file(lab: Lab): string {
  const holders = Array.from({ length: HOLDERS }, (_, i) => holder(lab, i + 1))
  return `
name: ${lab.prefix}
networks:
  front:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }
  back: { ipam: { config: [ { subnet: 10.2.0.0/24 } ] } }
sandboxes:
  asker: { netns: ${lab.ns('asker')}, dns: ${UPSTREAM}, networks: { front: {}, back: {} } }
${holders.join('\n')}
`
}

type Table = ReadonlyMap<string, readonly string[]>

/** By name, what the tables promise the asker in a family: the first network that has some. */
function promised({ names, resolvers }: NamesView, family: 4 | 6): Table {
  const { networks } = resolvers.find(({ sandbox }) => sandbox === 'asker')!
  const table = new Map<string, readonly string[]>()
  for (const network of networks) {
    for (const { name, addresses } of names.filter((row) => row.network === network)) {
      const own = addresses.filter((address) => address.includes(':') === (family === 6))
      if (own.length > 0 && !table.has(name)) table.set(name, own.toSorted())
    }
  }
  return table
}

/** What dig and kdig print with `+noall +answer`. */
function records(stdout: string): Table {
  const table = new Map<string, string[]>()
  for (const line of stdout.split('\n')) {
    const [, name, address] = /^(\S+)\.\s+\d+\s+IN\s+A+\s+(\S+)$/.exec(line) ?? []
    if (name === undefined) continue
    table.set(name, [...(table.get(name) ?? []), address!].toSorted())
  }
  return table
}

/** What `getent ahostsv4 NAME ...` prints: a name only where its first address is. */
function hosts(stdout: string): Table {
  const table = new Map<string, string[]>()
  let name = ''
  for (const line of stdout.split('\n')) {
    const [, address, called] = /^(\S+)\s+STREAM\s*(\S*)/.exec(line) ?? []
    if (address === undefined) continue
    if (called !== '') name = called!
    table.set(name, [...(table.get(name) ?? []), address].toSorted())
  }
  return table
}

describe.skipIf(!tools)('a thousand names', () => {
  const lab = new Lab()
  let view: NamesView
  let names: readonly string[]
  let sample: readonly string[]

  function sampled(table: Table): Table {
    return new Map(sample.flatMap((name) => (table.has(name) ? [[name, table.get(name)!]] : [])))
  }

  async function exec(...command: string[]): Promise<string> {
    const { code, stdout, stderr } = await lab.exec('asker', ...command)
    expect(code, stderr).toBe(0)
    return stdout
  }

  beforeAll(async () => {
    await lab.up(file(lab))
    view = await lab.json<NamesView>('dns')
    names = [...promised(view, 4).keys()]
    const random = new Random(RNG)
    sample = Array.from({ length: SAMPLE }, () => names[random.below(names.length)]!)
    const config = ['--keep-in-foreground', '--no-resolv', '--no-hosts', '--conf-file=/dev/null']
    const listen = [`--listen-address=${UPSTREAM}`, '--bind-interfaces', '--pid-file=']
    const zone = ['--address=/far.example/198.51.100.7', '--local-ttl=600', '--user=root']
    lab.spawn('h1', 'dnsmasq', ...config, ...listen, ...zone)
    const answers = async (): Promise<boolean> => {
      const question = ['dig', '+short', '+time=1', '+tries=1', `@${UPSTREAM}`, 'up.far.example']
      return (await lab.exec('asker', ...question)).stdout === '198.51.100.7\n'
    }
    await until('the upstream answers', answers, 30_000)
  }, 120_000)

  afterAll(async () => {
    expect(await lab.end()).toEqual({ code: 0, left: [] })
  })

  it('are in the tables', () => {
    expect(names.length).toBeGreaterThanOrEqual(1000)
    expect(promised(view, 4).get('shared3')).toEqual(['10.1.0.23', '10.1.0.26'])
    expect(promised(view, 4).get('b2-7')).toEqual(['10.2.0.22'])
    expect(promised(view, 6).get('f5-139')).toEqual(['fd00:1::25'])
  })

  it.each([
    ['10.1.0.1', 4],
    ['fd00:1::1', 6],
    ['127.0.0.11', 4],
  ] as const)('are what dig is told at %s, family %i, all of them', async (server, family) => {
    const batch = join(lab.folder, 'batch')
    const type = family === 4 ? 'A' : 'AAAA'
    writeFileSync(batch, names.map((name) => `${name} ${type}\n`).join(''))
    const options = ['+noall', '+answer', '+tries=1', '+time=5']
    const told = records(await exec('dig', `@${server}`, ...options, '-f', batch))
    expect(told).toEqual(promised(view, family))
  })

  it('are what kdig is told, UDP and TCP, both families', async () => {
    for (const [family, type] of [[4, 'A'] as const, [6, 'AAAA'] as const]) {
      for (const way of ['+notcp', '+tcp']) {
        const options = ['+noall', '+answer', '+time=5', way]
        const told = await exec('kdig', '@10.1.0.1', '-t', type, ...options, ...unique(sample))
        expect(records(told), `seed ${RNG}`).toEqual(sampled(promised(view, family)))
      }
    }
  })

  it('are what libc is told', async () => {
    const told = await exec('getent', 'ahostsv4', ...unique(sample))
    expect(hosts(told), `seed ${RNG}`).toEqual(sampled(promised(view, 4)))
  })

  it('get their own answers from a forwarder inside, a hundred questions at a time', async () => {
    const queries = join(lab.folder, 'far')
    writeFileSync(
      queries,
      aliases('n', FAR_NAMES)
        .map((name) => `${name}.far.example A\n`)
        .join(''),
    )
    for (let round = 0; round < FAR_ROUNDS; round++) {
      expect((await lab.cli('dns', 'flush')).code).toBe(0)
      const summary = await exec('dnsperf', '-s', '10.1.0.1', '-d', queries, '-n', '1')
      expect(summary).toMatch(/Response codes:\s+NOERROR 1000 \(100\.00%\)/)
      expect(summary).toMatch(/Queries lost:\s+0 /)
    }
  })
})

function unique(list: readonly string[]): string[] {
  return [...new Set(list)]
}
