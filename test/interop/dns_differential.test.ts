/**
 * Odd queries to our gateway and to dnsmasq with the same names: both must say the same, but where
 * it is written down here why not.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import dns from 'dns-packet'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createFabric, type Fabric } from '../../services/fabric/library.ts'
import type { Sandbox } from '../../services/fabric/sandbox.ts'
import { hasTool } from '../netns/lab.ts'
import { askRaw, query } from '../services/dns/ask.ts'

const PORT = 20_000 + (process.pid % 20_000)
const SILENCE = 'silence'
const RECORDS = [
  'web,10.1.0.11,fd00:1::11',
  'db,10.1.0.12',
  'old,10.4.0.12',
  'web.front,10.1.0.11,fd00:1::11',
]

function summary(message: Uint8Array): string {
  const { rcode, answers = [] } = dns.decode(Buffer.from(message)) as dns.DecodedPacket & {
    rcode?: string
  }
  const rows = answers.map(
    (answer) => `${answer.type} ${String((answer as { data: unknown }).data)}`,
  )
  return [rcode, ...rows.sort()].join('; ')
}

async function askDnsmasq(message: Uint8Array): Promise<string> {
  const socket = createSocket('udp4')
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => resolve(SILENCE), 700)
      socket.on('error', reject)
      socket.on('message', (answer) => {
        clearTimeout(timer)
        resolve(summary(answer))
      })
      socket.send(message, PORT, '127.0.0.1')
    })
  } finally {
    socket.close()
  }
}

function patched(message: Buffer, at: number, ...octets: number[]): Buffer {
  const copy = Buffer.from(message)
  copy.set(octets, at)
  return copy
}

const base = query('web')
const edns = query('web', { edns: 4096 })

/** What both say alike. */
const SAME: readonly [string, Buffer][] = [
  ['A', base],
  ['AAAA', query('web', { type: 'AAAA' })],
  ['upper case', query('WeB')],
  ['the other family', query('old', { type: 'AAAA' })],
  ['with a suffix', query('web.front')],
  ['PTR', query('12.0.1.10.in-addr.arpa', { type: 'PTR' })],
  ['PTR of nobody', query('99.0.1.10.in-addr.arpa', { type: 'PTR' })],
  ['EDNS', edns],
  ['EDNS of 0 octets', query('web', { edns: 0 })],
  ['localhost', query('localhost')],
  ['no recursion desired', query('web', { flags: 0 })],
  ['with AD', patched(base, 3, 0x20)],
  ['with CD', patched(base, 3, 0x10)],
  ['a response', patched(base, 2, 0x81)],
  ['half a header', base.subarray(0, 6)],
]

/** What we say, and what dnsmasq says. */
const DIFFERENT: readonly [string, Buffer, string, string][] = [
  // The name is known and has none: that is an answer. dnsmasq would ask a forwarder, and has none.
  ['a type that is not there', query('web', { type: 'MX' }), 'NOERROR', 'REFUSED'],
  // RFC 1035 §4.1.1: RCODE 4 is for kinds of query that a server does not support.
  ['opcode STATUS', patched(base, 2, 0x11), 'NOTIMP', 'REFUSED'],
  ['opcode NOTIFY', patched(base, 2, 0x21), 'NOTIMP', 'REFUSED'],
  ['opcode UPDATE', patched(base, 2, 0x29), 'NOTIMP', 'REFUSED'],
  // RFC 9619: other counts of questions than one are a format error.
  ['no question', patched(base.subarray(0, 12), 5, 0), 'FORMERR', 'REFUSED'],
  ['a header alone', base.subarray(0, 12), 'FORMERR', SILENCE],
  ['two questions', patched(base, 5, 2), 'FORMERR', SILENCE],
  ['octets behind it', Buffer.concat([base, Buffer.alloc(3)]), 'FORMERR', 'NOERROR; A 10.1.0.11'],
  // BADVERS: its upper bits are in the OPT record.
  ['a later EDNS', patched(edns, edns.length - 5, 1), 'NOERROR', 'NOERROR; A 10.1.0.11'],
  ['a zone transfer', query('web', { type: 'AXFR' }), 'REFUSED', 'REFUSED'],
]

describe.skipIf(!hasTool('dnsmasq', 'dnsmasq-base'))('odd queries, beside dnsmasq', () => {
  let server: ChildProcess
  let fabric: Fabric
  let client: Sandbox

  async function ours(message: Buffer): Promise<string> {
    try {
      const { rcode, answers = [] } = await askRaw(client, '10.1.0.1', message, 500)
      const rows = answers.map((each) => `${each.type} ${String((each as { data: unknown }).data)}`)
      return [rcode, ...rows.sort()].join('; ')
    } catch {
      return SILENCE
    }
  }

  beforeAll(async () => {
    server = spawn('dnsmasq', [
      ...['--keep-in-foreground', '--no-resolv', '--no-hosts', '--conf-file=/dev/null'],
      ...[`--port=${PORT}`, '--listen-address=127.0.0.1', '--bind-interfaces', '--pid-file='],
      ...['--bogus-priv', '--domain-needed', '--local-ttl=600', '--user=root'],
      ...['--host-record=localhost,127.0.0.1,::1'],
      ...RECORDS.map((record) => `--host-record=${record}`),
      '--ptr-record=12.0.1.10.in-addr.arpa,db.front',
    ])
    fabric = await createFabric()
    await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
    await fabric.network('four', { subnets: ['10.4.0.0/24'] })
    const six = { ipv4: '10.1.0.11', ipv6: 'fd00:1::11' }
    client = await fabric.sandbox('web', { networks: { front: six, four: {} } })
    await fabric.sandbox('db', { networks: { front: { ipv4: '10.1.0.12' } } })
    await fabric.sandbox('old', { networks: { four: { ipv4: '10.4.0.12' } } })
    await new Promise((resolve) => setTimeout(resolve, 1000))
  })

  afterAll(async () => {
    server.kill()
    await fabric.close()
  })

  it.each(SAME)('says the same of %s', async (_, message) => {
    expect(await ours(message)).toBe(await askDnsmasq(message))
  })

  it.each(DIFFERENT)('differs in %s', async (_, message, own, other) => {
    expect([await ours(message), await askDnsmasq(message)]).toEqual([own, other])
  })
})
