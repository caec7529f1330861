/** The API against a daemon in memory: every path, every kind of refusal, both streams. */
import { statSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BODY_BYTES_MAX } from '../../services/api.ts'
import type { ApplyAnswer, DaemonInfo } from '../../services/api_types.ts'
import { Client } from '../../services/client.ts'
import type { TraceResult } from '../../services/trace.ts'
import type { FdbRow, Inspection, Listing, RouteRow } from '../../services/views.ts'
import type { Stats } from '../../services/views_counters.ts'
import { type CapturedFrame, PcapngReader } from '../../stack/eth/pcapng_reader.ts'
import { BIGGER, DaemonLab, eventually, SHOP } from './daemon_lab.ts'

let lab: DaemonLab

beforeEach(async () => {
  lab = new DaemonLab()
  await lab.daemon.start()
})

afterEach(async () => {
  expect(await lab.close()).toEqual([])
})

interface Raw {
  readonly status: number
  readonly allow: string | undefined
  readonly body: { error?: { code: string; message: string } }
}

/** What the client would not send. */
function raw(method: string, path: string, body?: string | Buffer): Promise<Raw> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: lab.socketPath, method, path, agent: false })
    asked.on('error', reject)
    asked.on('response', (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      answer.on('end', () => {
        const { statusCode = 0, headers } = answer
        resolve({ status: statusCode, allow: headers.allow, body: JSON.parse(text) })
      })
    })
    asked.end(body)
  })
}

describe('reading', () => {
  it('says who it is', async () => {
    const info = await lab.client.get<DaemonInfo>('daemon')
    expect(info).toMatchObject({ name: 'shop', pid: process.pid, state: 'ready', links: 'memory' })
    expect(info.socket).toBe(lab.socketPath)
    expect(Date.now() - Date.parse(info.startedAt)).toBeLessThan(60_000)
  })

  it('shows networks, stations, routes and counters', async () => {
    const { client } = lab
    const listing = await client.get<Listing>('ls')
    expect(listing.networks.map(({ name }) => name)).toEqual(['front', 'back'])
    const inspection = await client.get<Inspection>('inspect', { name: 'web1' })
    expect(inspection.sandboxes[0]?.endpoints[0]?.addresses).toEqual(['10.1.0.11/24'])
    const fdb = await client.get<FdbRow[]>('fdb', { network: 'back' })
    expect(fdb.map(({ port }) => port).sort()).toEqual(['db/eth0', 'gateway'])
    const routes = await client.get<RouteRow[]>('routes')
    expect(routes.map(({ destination }) => destination)).toContain('10.1.0.0/24')
    expect((await client.get<Stats>('stats')).devices).toHaveLength(3)
    expect(await client.get('neigh')).toEqual([])
    expect(await client.get('drops')).toBeInstanceOf(Array)
  })

  it('brings the clock up to date first: nothing may have moved for long', async () => {
    const before = await lab.client.get<Stats>('stats')
    await new Promise((resolve) => setTimeout(resolve, 30))
    const after = await lab.client.get<Stats>('stats')
    expect(after.uptimeMs - before.uptimeMs).toBeGreaterThanOrEqual(25)
  })

  it('traces a packet, and changes nothing by it', async () => {
    const before = await lab.client.get('stats')
    const trace = await lab.client.post<TraceResult>('trace', { from: 'web1', to: '10.1.0.12' })
    expect(trace.ends).toEqual([{ verdict: 'transmitted', detail: 'web2/eth0' }])
    const after = await lab.client.get('stats')
    expect({ ...after!, uptimeMs: 0 }).toEqual({ ...before!, uptimeMs: 0 })
  })
})

describe('refusing', () => {
  it('lets nobody but its owner in', () => {
    expect(statSync(lab.socketPath).mode & 0o777).toBe(0o600)
  })

  it('names the error of the daemon', async () => {
    await expect(lab.client.get('inspect', { name: 'nobody' })).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringMatching(
        /^no network, sandbox, service or device "nobody"; there are: /,
      ),
    })
  })

  it.each([
    ['GET', '/v1/nothing', 404, 'not-found'],
    ['GET', '/', 404, 'not-found'],
    ['GET', '/v1/__proto__', 404, 'not-found'],
    ['GET', '/v2/ls', 404, 'not-found'],
    ['GET', '//', 400, 'bad-argument'],
    ['DELETE', '/v1/ls', 405, 'not-found'],
    ['GET', '/v1/apply', 405, 'not-found'],
    ['GET', '/v1/inspect?name=x', 404, 'not-found'],
    ['GET', '/v1/ls?name=x', 400, 'bad-argument'],
    ['GET', '/v1/fdb?netwrok=x', 400, 'bad-argument'],
    ['POST', '/v1/conntrack/delete?sandbx=x', 400, 'bad-argument'],
    ['GET', '/v1/events?x', 400, 'bad-argument'],
    ['GET', '/v1/capture?count=0', 400, 'bad-argument'],
    ['GET', '/v1/capture?snaplen=x', 400, 'bad-argument'],
    ['GET', '/v1/capture?filter=port', 400, 'bad-argument'],
    ['GET', '/v1/capture?device=eth9', 404, 'not-found'],
  ])('%s %s is %d', async (method, path, status, code) => {
    const answer = await raw(method, path)
    expect(answer.status).toBe(status)
    expect(answer.body.error?.code).toBe(code)
    if (status === 405) expect(answer.allow).toMatch(/^(GET|POST)$/)
  })

  it.each([
    ['/v1/apply', 'not json', 'the body is not JSON'],
    ['/v1/apply', '{"file":"x"}', 'apply wants'],
    ['/v1/apply', 'null', 'apply wants'],
    ['/v1/trace', '{}', 'from: '],
    ['/v1/trace', '{"from":"web1","to":"10.1.0.12","tos":1}', 'tos'],
    ['/v1/trace', '{"from":"web1","to":"10.1.0.12","ttl":-1}', 'ttl: '],
    ['/v1/trace', '{"from":"web1","to":"nowhere"}', 'not an IPv4 or IPv6 address'],
    ['/v1/trace', '[]', 'body: '],
  ])('POST %s of %s', async (path, body, message) => {
    const answer = await raw('POST', path, body)
    expect(answer.status).toBe(400)
    expect(answer.body.error?.message).toContain(message)
  })

  it('bounds what it reads', async () => {
    const big = Buffer.alloc(BODY_BYTES_MAX + 1, 0x20)
    const answer = await raw('POST', '/v1/trace', big).catch((error: Error) => error)
    // It may hang up on the rest of the body before its answer is read.
    if (answer instanceof Error) expect(answer.message).toMatch(/EPIPE|ECONNRESET|hang up/)
    else expect(answer.status).toBe(400)
    expect((await raw('GET', '/v1/daemon')).status).toBe(200)
  })

  it.each([
    ['garbage', '\x00\xff\x16\x03\x01 not http\r\n\r\n'],
    ['half a head', 'GET /v1/ls HTTP/1.1\r\nHo'],
    ['half a body', 'POST /v1/apply HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{"file'],
    ['a hang-up in a stream', 'GET /v1/capture HTTP/1.1\r\nhost: x\r\n\r\n'],
  ])('lives on after %s', async (_, octets) => {
    const socket = connect(lab.socketPath)
    socket.on('error', () => undefined)
    socket.end(octets, 'latin1')
    await new Promise((resolve) => setTimeout(resolve, 30))
    socket.destroy()
    await lab.links.host('web1')!.ping('10.1.0.12')
    expect((await lab.client.get<DaemonInfo>('daemon')).state).toBe('ready')
  })

  it('is plain about a daemon that is not there', async () => {
    const client = new Client(`${lab.socketPath}.not`)
    await expect(client.get('ls')).rejects.toMatchObject({
      code: 'daemon',
      message: `no daemon listens at ${lab.socketPath}.not`,
    })
  })
})

describe('applying', () => {
  it('says what it would do and does not, then does', async () => {
    const request = { file: 'shop.yaml', text: BIGGER }
    const dry = await lab.client.post<ApplyAnswer>('apply', { ...request, dryRun: true })
    expect(dry.steps.map(({ action }) => action)).toEqual(['create-sandbox', 'join'])
    expect((await lab.client.get<Listing>('ls')).sandboxes).toHaveLength(3)
    const wet = await lab.client.post<ApplyAnswer>('apply', request)
    expect(wet.steps).toEqual(dry.steps)
    expect((await lab.client.get<Listing>('ls')).sandboxes).toHaveLength(4)
    expect((await lab.client.post<ApplyAnswer>('apply', request)).steps).toEqual([])
  })

  it('sends every fault of a file back, and changes nothing', async () => {
    const text = SHOP.replace('10.1.0.11', '10.9.0.11').replace('driver', 'x')
    const refused = lab.client.post('apply', { file: 'bad.yaml', text: `${text}nonsense: 1\n` })
    await expect(refused).rejects.toMatchObject({ code: 'bad-config' })
    const faults = await refused.catch((error: { faults: string[] }) => error.faults)
    expect(faults).toHaveLength(2)
    expect(faults).toEqual(
      expect.arrayContaining([expect.stringMatching(/^bad\.yaml:6:\d+: .*10\.9\.0\.11/)]),
    )
    expect((await lab.client.get<Listing>('ls')).sandboxes).toHaveLength(3)
  })

  it("refuses another daemon's file", async () => {
    const text = SHOP.replace('name: shop', 'name: other')
    await expect(lab.client.post('apply', { file: 'o.yaml', text })).rejects.toThrow(
      'this daemon is "shop", and o.yaml is for "other"',
    )
  })
})

describe('events', () => {
  it('sends log lines from now on, until the reader hangs up', async () => {
    const stream = await lab.client.stream('events')
    const lines = createInterface({ input: stream.body })[Symbol.asyncIterator]()
    await lab.client.post('apply', { file: 'shop.yaml', text: BIGGER })
    expect(JSON.parse((await lines.next()).value)).toMatchObject({ msg: 'applied' })
    stream.close()
    await lab.client.post('apply', { file: 'shop.yaml', text: SHOP })
  })
})

describe('capture', () => {
  async function frames(
    query: Record<string, string | string[] | number>,
  ): Promise<CapturedFrame[]> {
    const stream = await lab.client.stream('capture', query)
    await lab.links.host('web1')!.ping('10.1.0.12')
    const reader = new PcapngReader()
    for await (const chunk of stream.body as AsyncIterable<Uint8Array>) reader.push(chunk)
    const found: CapturedFrame[] = []
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) found.push(frame)
    expect(reader.malformed).toBeUndefined()
    expect(reader.pending).toBe(0)
    return found
  }

  it('sees frames at each device, in and out, in the order of their way', async () => {
    const found = await frames({ filter: 'icmp', count: 4 })
    expect(found.map(({ interface: { name }, direction }) => `${name} ${direction}`)).toEqual([
      'web1/eth0 in',
      'web2/eth0 out',
      'web2/eth0 in',
      'web1/eth0 out',
    ])
    const nowUs = Date.now() * 1000
    for (const { timeUs } of found) expect(Math.abs(nowUs - timeUs)).toBeLessThan(60_000_000)
  })

  it('takes the devices that were asked for, and no more octets than wanted', async () => {
    const found = await frames({ device: 'web2/eth0', filter: 'icmp', snaplen: 20, count: 2 })
    expect(found.map(({ direction }) => direction)).toEqual(['out', 'in'])
    for (const { bytes, originalBytes } of found) {
      expect([bytes.length, originalBytes]).toEqual([20, 98])
    }
  })

  it('leaves nothing on the data path when the reader hangs up', async () => {
    const [edge] = lab.daemon.controller.node.edges()
    const before = edge!.device.output
    const stream = await lab.client.stream('capture')
    expect(edge!.device.output).not.toBe(before)
    stream.close()
    await eventually(() => edge!.device.output === before)
    await lab.links.host('web1')!.ping('10.1.0.12')
  })

  it('starts with its head, so that a live reader can start too', async () => {
    const stream = await lab.client.stream('capture', { device: 'db/eth0' })
    const [first] = await new Promise<Buffer[]>((resolve) =>
      stream.body.once('data', (chunk: Buffer) => resolve([chunk])),
    )
    expect(first!.readUInt32LE(0)).toBe(0x0a0d0d0a)
    expect(first!.includes('db/eth0')).toBe(true)
    stream.close()
  })
})
