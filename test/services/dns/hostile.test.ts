/** Messages that were made to harm: at the gateway, and as answers of forwarders. */
import dns from 'dns-packet'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lastName, type Name, parseName, readName } from '../../../services/dns/name.ts'
import { Query, SILENCE } from '../../../services/dns/query.ts'
import { isReply, makeQuery, readReply } from '../../../services/dns/reply.ts'
import { Rcode } from '../../../services/dns/wire.ts'
import { createFabric } from '../../../services/fabric/library.ts'
import { askRaw, query } from './ask.ts'
import { type Asked, type Behavior, MemoryHost, reply, zone } from './memory_host.ts'

function read(message: Uint8Array): number {
  return new Query().read(message, 0, message.length)
}

function patched(message: Buffer, at: number, ...octets: number[]): Buffer {
  const copy = Buffer.from(message)
  copy.set(octets, at)
  return copy
}

describe('a query', () => {
  const good = query('web.front', { edns: 1232 })
  const end = 12 + 11 + 4

  it.each<[string, Buffer, number]>([
    ['that is good', good, Rcode.NoError],
    ['shorter than a header', good.subarray(0, 11), SILENCE],
    ['that is a response', patched(good, 2, 0x81), SILENCE],
    ['with opcode NOTIFY', patched(good, 2, 0x20), Rcode.NotImp],
    ['without a question', patched(good, 5, 0), Rcode.FormErr],
    ['with two questions (RFC 9619)', patched(good, 5, 2), Rcode.FormErr],
    ['with an answer', patched(good, 7, 1), Rcode.FormErr],
    ['with an authority', patched(good, 9, 1), Rcode.FormErr],
    ['that ends in its name', good.subarray(0, 18), Rcode.FormErr],
    ['that ends in its question', good.subarray(0, end - 1), Rcode.FormErr],
    ['with a pointer in its question', patched(good, 12, 0xc0, 0x0c), Rcode.FormErr],
    ['with a label of type 01', patched(good, 12, 0x41), Rcode.FormErr],
    ['with octets behind it', Buffer.concat([good, Buffer.alloc(1)]), Rcode.FormErr],
    ['with fewer records than it says', patched(good, 11, 2), Rcode.FormErr],
    ['with two OPT', patched(Buffer.concat([good, good.subarray(end)]), 11, 2), Rcode.FormErr],
    ['with a later EDNS', patched(good, end + 6, 1), Rcode.BadVers],
    ['of class CH', patched(good, end - 1, 3), Rcode.Refused],
    ['for a whole zone', patched(good, end - 3, 252), Rcode.Refused],
    ['for type OPT', patched(good, end - 3, 41), Rcode.FormErr],
  ])('%s', (_, message, rcode) => {
    expect(read(message)).toBe(rcode)
  })

  it('is cut or mutated in any way, and never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(60), (noise, at) => {
        read(noise)
        const message = Buffer.from(good)
        message.set(noise.subarray(0, Math.max(0, message.length - at)), at % message.length)
        read(message)
        read(message.subarray(0, noise.length))
      }),
      { numRuns: 2000 },
    )
  })

  it('is answered at the gateway with the code that it deserves', async () => {
    const fabric = await createFabric({ checked: true })
    await fabric.network('front', { subnets: ['10.1.0.0/24'] })
    const web = await fabric.sandbox('web', { networks: ['front'] })
    const asked = async (message: Buffer) => (await askRaw(web, '10.1.0.1', message)).rcode
    expect(await asked(patched(good, 5, 2))).toBe('FORMERR')
    expect(await asked(patched(good, 2, 0x20))).toBe('NOTIMP')
    expect(await asked(patched(good, end - 3, 252))).toBe('REFUSED')
    expect(await asked(patched(query('x.example'), 2, 0))).toBe('REFUSED')
    await expect(askRaw(web, '10.1.0.1', patched(good, 2, 0x81), 500)).rejects.toThrow()
    const drops = fabric.controller.drops().find(({ reason }) => reason === 'dns-malformed')
    expect(drops?.count).toBe(1)
    await fabric.close()
  })
})

describe('names', () => {
  it.each<[string, number[]]>([
    ['points at itself', [0xc0, 0]],
    ['points forward', [0xc0, 2, 0]],
    ['goes in a circle', [1, 0x61, 0xc0, 0]],
    ['points beyond the message', [0xff, 0xff]],
    ['ends in a pointer', [0xc0]],
    ['has a long label', [64, ...Array(64).fill(0x61), 0]],
    ['is too long', [...Array(128).fill([1, 0x61]).flat(), 0]],
  ])('is none that %s', (_, octets) => {
    expect(readName(Uint8Array.from(octets), 0, 0, octets.length)).toBe(-1)
  })

  it('reads what points back', () => {
    const octets = Uint8Array.from([1, 0x41, 0, 1, 0x42, 0xc0, 0])
    expect(readName(octets, 0, 3, octets.length)).toBe(4)
    expect(lastName()).toBe(parseName('b.a'))
  })
})

const NAME = 'www.example'

function asking() {
  return makeQuery({
    id: 4711,
    name: parseName(NAME),
    type: 1,
    edns: true,
    dnssecOk: false,
    checkingDisabled: false,
    bits: () => 0x5a5a,
  })
}

describe('an answer of a forwarder', () => {
  const { query: sent, asked } = asking()
  const packet = dns.decode(Buffer.from(sent))
  const own: Asked = { message: Buffer.from(sent), packet, way: 'udp' }
  const a = (name: string, data: string) => ({ type: 'A', name, ttl: 60, data })
  const good = reply(own, { answers: [a(NAME, '198.51.100.7')] })

  it('is taken if it is one', () => {
    const read = readReply(good, asked)
    expect(isReply(read) && read.answers.map(({ data }) => [...data])).toEqual([[198, 51, 100, 7]])
  })

  it.each<[string, Buffer]>([
    ['another identifier', patched(good, 0, 0)],
    ['a query', patched(good, 2, 1)],
    ['another name', patched(good, 13, 0x78)],
    ['other letters (0x20)', patched(good, 13, good[13]! ^ 0x20)],
    ['another type', patched(good, 12 + 13 + 1, 28)],
    ['no question', patched(good, 5, 0)],
    ['less than a header', good.subarray(0, 5)],
  ])('is ignored with %s', (_, message) => {
    expect(readReply(message, asked)).toMatchObject({ ignored: true })
  })

  it.each<[string, Buffer]>([
    ['is cut', good.subarray(0, good.length - 1)],
    ['counts more than it has', patched(good, 7, 9)],
    ['has an address of 3 octets', patched(good, good.length - 5, 3)],
  ])('is refused if it %s', (_, message) => {
    expect(readReply(message, asked)).toMatchObject({ ignored: false })
  })

  it('says nothing about other names', () => {
    const message = reply(own, {
      answers: [
        a('victim.example', '203.0.113.66'),
        { type: 'CNAME', name: NAME, ttl: 60, data: 'cdn.example' },
        a('cdn.example', '198.51.100.8'),
        a('other.example', '203.0.113.66'),
      ],
      authorities: [{ type: 'NS', name: 'example', ttl: 60, data: 'ns.evil.example' }],
      additionals: [a('victim.example', '203.0.113.66')],
    })
    const read = readReply(message, asked)
    const owners = isReply(read) ? read.answers.map(({ owner }): Name => owner) : []
    expect(owners).toEqual([parseName(NAME), parseName('cdn.example')])
  })

  it('is cut or mutated in any way, and never throws nor loops', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }),
        (edits) => {
          const message = Buffer.from(good)
          for (const [at, octet] of edits) message[at] = octet
          for (let bytes = 0; bytes <= message.length; bytes += 3)
            readReply(message.subarray(0, bytes), asked)
          readReply(message, asked)
        },
      ),
      { numRuns: 1000 },
    )
  })

  it('changes nothing when it is forged: the true one is waited for', async () => {
    const host = new MemoryHost()
    const fabric = await createFabric({
      dns: (clock) => {
        host.clock = clock
        return host
      },
    })
    await fabric.network('front', { subnets: ['10.1.0.0/24'] })
    const web = await fabric.sandbox('web', { networks: ['front'] })
    const honest = zone({ [NAME]: '198.51.100.7' })
    const forged = (asked: Asked): Buffer => {
      const name = asked.packet.questions![0]!.name
      return patched(reply(asked, { answers: [a(name, '203.0.113.66')] }), 0, 0, 1)
    }
    const flood: Behavior = (asked) => {
      if (asked.way === 'tcp') return honest(asked)
      return [forged(asked), forged(asked), ...honest(asked)]
    }
    host.servers.set('192.0.2.53', flood)
    const asks = () => askRaw(web, '10.1.0.1', query(NAME))
    expect((await asks()).answers).toMatchObject([{ data: '198.51.100.7' }])
    fabric.controller.flushNames()
    host.servers.set('192.0.2.53', (asked) => {
      return asked.way === 'tcp' ? honest(asked) : [...Array(9)].map(() => forged(asked))
    })
    host.asked.length = 0
    expect((await asks()).answers).toMatchObject([{ data: '198.51.100.7' }])
    expect(host.asked.map(({ way }) => way)).toEqual(['udp', 'tcp'])
    await fabric.advance(1000)
    await fabric.close()
  })
})
