/** TCP and HTTP of hosts in memory: what a program on them sees, over good cables and bad. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { describe, expect, it } from 'vitest'
import { createFabric, type Fabric, type Sandbox } from '../../services/fabric/library.ts'

interface Pair {
  readonly fabric: Fabric
  readonly client: Sandbox
  readonly server: Sandbox
}

async function pair(seed = 1, mtu = 1500): Promise<Pair> {
  const fabric = await createFabric({ seed })
  await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
  await fabric.network('back', { subnets: ['10.2.0.0/24', 'fd00:2::/64'], mtu })
  const client = await fabric.sandbox('client', { networks: ['front'] })
  const server = await fabric.sandbox('server', { networks: ['back', 'front'] })
  return { fabric, client, server }
}

/** `bytes` octets that are easy to tell from each other. */
function data(bytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + (i >> 8)) & 0xff))
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Send all of it to port 9000, which sends it back; what comes back. */
async function echo({ fabric, client, server }: Pair, to: string, sent: Buffer): Promise<Buffer> {
  const listener = server.listen(9000, (stream) => stream.pipe(stream))
  const stream = client.connect(to, 9000)
  const parts: Buffer[] = []
  stream.on('data', (part: Buffer) => parts.push(part))
  stream.end(sent)
  await fabric.run(() => once(stream, 'end'))
  listener.close()
  return Buffer.concat(parts)
}

describe('a TCP stream', () => {
  it.each(['IPv4', 'IPv6'])('carries both ways what was written, over %s', async (family) => {
    const beds = await pair()
    await using fabric = beds.fabric
    const sent = data(300_000)
    const to = family === 'IPv4' ? beds.server.ipv4('back') : beds.server.ipv6('back')
    expect(digest(await echo(beds, to, sent))).toBe(digest(sent))
    expect(fabric.controller.drops()).toEqual([])
  })

  it('names its ends', async () => {
    const { fabric, client, server } = await pair()
    await using _ = fabric
    const seen: string[] = []
    server.listen(7, (stream) => {
      seen.push(`${stream.remoteAddress} ${stream.localAddress}:${stream.localPort}`)
      stream.end()
    })
    const stream = client.connect('server', 7)
    stream.resume()
    await fabric.run(() => once(stream, 'close'))
    expect(seen).toEqual([`${client.ipv4()} ${server.ipv4('front')}:7`])
    expect(stream.remotePort).toBe(7)
  })

  it.each([1, 2, 3, 4, 5])('loses nothing where the cable does (seed %i)', async (seed) => {
    const beds = await pair(seed)
    await using fabric = beds.fabric
    const link = fabric.link('server', 'back')
    link.faults({ lossPct: 10, delayMs: 5, jitterMs: 3, reorderPct: 10, duplicatePct: 5 })
    const sent = data(200_000)
    expect(digest(await echo(beds, beds.server.ipv4('back'), sent))).toBe(digest(sent))
  })

  it('does the same again with the same seed', async () => {
    const run = async (): Promise<number> => {
      const beds = await pair(11)
      await using fabric = beds.fabric
      fabric.link('server', 'back').faults({ lossPct: 20, delayMs: 10 })
      await echo(beds, beds.server.ipv4('back'), data(2_000_000))
      return fabric.nowMs
    }
    const first = await run()
    expect(first).toBeGreaterThan(100)
    expect(await run()).toBe(first)
  })

  it('notices damage', async () => {
    const beds = await pair(3)
    await using fabric = beds.fabric
    fabric.link('server', 'back').faults({ corruptPct: 5 })
    const sent = data(100_000)
    expect(digest(await echo(beds, beds.server.ipv4('back'), sent))).toBe(digest(sent))
  })

  it('finds the MTU of its path', async () => {
    const beds = await pair(1, 1300)
    await using _ = beds.fabric
    const sent = data(50_000)
    expect(digest(await echo(beds, beds.server.ipv4('back'), sent))).toBe(digest(sent))
  })

  it('waits for a reader that takes its time', async () => {
    const { fabric, client, server } = await pair()
    await using _ = fabric
    let held = 0
    let taken = 0
    server.listen(9000, (stream) => {
      stream.pause()
      held++
      stream.on('data', (part: Buffer) => {
        taken += part.length
      })
      setTimeout(() => stream.resume(), 0)
    })
    const stream = client.connect('server', 9000)
    stream.end(data(1_000_000))
    await fabric.run(async () => {
      await once(stream, 'finish')
      while (taken < 1_000_000) await new Promise((resolve) => setImmediate(resolve))
    })
    expect([held, taken]).toEqual([1, 1_000_000])
  })

  it('is refused where nobody listens', async () => {
    const { fabric, client } = await pair()
    await using _ = fabric
    const stream = client.connect('server', 81)
    const failed = await fabric.run(() => once(stream, 'error'))
    expect(failed[0]).toMatchObject({ name: 'TcpError', code: 'ECONNREFUSED' })
  })

  it('gives up on a peer that is cut off, and says when', async () => {
    const { fabric, client, server } = await pair()
    await using _ = fabric
    server.listen(9000, (stream) => stream.resume())
    const heal = fabric.partition('client', 'server')
    const stream = client.connect(server.ipv4('back'), 9000)
    const failed = await fabric.run(() => once(stream, 'error'))
    expect(failed[0]).toMatchObject({ code: 'ETIMEDOUT' })
    // 1 + 2 + 4 + ... + 64 seconds.
    expect(fabric.nowMs).toBe(127_000)
    // On one's own network, nobody has the address.
    const near = client.connect('server', 9000)
    const unreachable = await fabric.run(() => once(near, 'error'))
    expect(unreachable[0]).toMatchObject({ code: 'EHOSTUNREACH' })
    heal()
  })

  it('survives a partition that heals', async () => {
    const beds = await pair(5)
    await using fabric = beds.fabric
    fabric.link('server', 'back').faults({ delayMs: 20 })
    const sent = data(400_000)
    const echoed = echo(beds, beds.server.ipv4('back'), sent)
    await fabric.advance(45)
    const heal = fabric.partition('client', 'server')
    await fabric.advance(30_000)
    heal()
    expect(digest(await fabric.run(echoed))).toBe(digest(sent))
  })

  it('is reset when its peer is removed', async () => {
    const { fabric, client, server } = await pair()
    await using _ = fabric
    server.listen(9000, (stream) => stream.resume())
    const stream = client.connect('server', 9000)
    await fabric.run(() => once(stream, 'connect'))
    stream.write('hello')
    await fabric.advance(10)
    await server.remove()
    stream.write('anybody there?')
    const failed = await fabric.run(() => once(stream, 'error'))
    expect(['ETIMEDOUT', 'EHOSTUNREACH']).toContain(failed[0].code)
  })
})

describe('HTTP in memory', () => {
  it('serves and fetches by name', async () => {
    const { fabric, client, server } = await pair()
    await using _ = fabric
    server.serve(8080, (incoming, outgoing) => {
      outgoing.setHeader('x-path', incoming.url ?? '')
      outgoing.end(`hello from ${server.name}`)
    })
    const reply = await client.fetch('http://server:8080/greet?who=me')
    expect(reply).toMatchObject({ status: 200, text: 'hello from server' })
    expect(reply.headers['x-path']).toBe('/greet?who=me')
  })

  it('carries bodies both ways through a bad cable', async () => {
    const { fabric, client, server } = await pair(9)
    await using _ = fabric
    fabric.link('server', 'front').faults({ lossPct: 15, delayMs: 30 })
    server.serve(80, (incoming, outgoing) => incoming.pipe(outgoing))
    const body = 'x'.repeat(50_000)
    const reply = await client.fetch('http://server/', { method: 'POST', body })
    expect(reply.text).toBe(body)
    expect(fabric.nowMs).toBeGreaterThan(100)
  })

  it('ends in time where there is no answer', async () => {
    const { fabric, client, server } = await pair()
    await using _ = fabric
    server.serve(80, () => {})
    const asked = client.fetch('http://server/', { timeoutMs: 5000 })
    await expect(asked).rejects.toThrow('GET http://server/: no answer in 5000 ms')
    expect(fabric.nowMs).toBe(5000)
  })

  it('lends an agent to clients of node:http', async () => {
    const { fabric, client, server } = await pair()
    await using _ = fabric
    server.serve(80, (_incoming, outgoing) => outgoing.writeHead(204).end())
    const status = await fabric.run(
      () =>
        new Promise((resolve, reject) => {
          request('http://server/', { agent: client.agent() }, (r) => resolve(r.statusCode))
            .on('error', reject)
            .end()
        }),
    )
    expect(status).toBe(204)
  })

  it('knows no name of a sandbox on another network', async () => {
    const { fabric, server } = await pair()
    await using _ = fabric
    const other = await fabric.sandbox('other', { networks: ['back'] })
    expect(server.resolve('other')).toBe(other.ipv4())
    expect(() => other.resolve('client')).toThrow('other knows no client: no network of it has one')
  })

  it('knows all that the name service tells the sandbox', async () => {
    const { fabric, client } = await pair()
    await using _ = fabric
    await client.leave('front')
    await client.join('front', { aliases: ['*.wild', 'Caller'] })
    const peer = await fabric.sandbox('peer', { networks: ['front'] })
    for (const name of ['client', 'CLIENT.', 'client.front', 'caller', 'a.b.wild']) {
      expect(peer.resolve(name), name).toBe(client.ipv4())
    }
    expect(peer.resolve('localhost')).toBe('127.0.0.1')
    expect(peer.resolve('[fd00::1]')).toBe('fd00::1')
    expect(() => peer.resolve('nobody')).toThrow('peer knows no nobody')
    expect(() => peer.resolve('a..b')).toThrow('a label is empty')
    expect(await peer.ping('x.wild')).toMatchObject({ from: client.ipv4() })
    await expect(peer.ping('nobody')).rejects.toThrow('peer knows no nobody')
    const heard = client.udp(7000)
    peer.udp().send('hello', 'client.front', 7000)
    expect(await heard.receive()).toMatchObject({ text: 'hello', address: peer.ipv4() })
    client.serve(8080, (_incoming, outgoing) => outgoing.end('here'))
    expect(await peer.fetch('http://client.front:8080/')).toMatchObject({ text: 'here' })
    expect(await peer.fetch('http://x.wild:8080/')).toMatchObject({ text: 'here' })
  })
})
