/**
 * Policy and rates as kernels see them, both families: what rules allow passes with its answers,
 * what they deny does not; other rules hold at once; TCP gets the rate that it is given.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Lab } from './lab.ts'

const WEB = { 4: '10.1.0.11', 6: 'fd00:1::11' } as const
const DB = { 4: '10.2.0.12', 6: 'fd00:2::12' } as const
const FAMILIES = [4, 6] as const

function file(lab: Lab, ports: string, rate = ''): string {
  return `
name: ${lab.prefix}
networks:
  front:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }
  back:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.2.0.0/24 }, { subnet: "fd00:2::/64" } ] }
    policy:
      ingress:
        - { action: allow, from: front, protocol: tcp, ports: ${ports} }
        - { action: allow, from: back, protocol: icmp }
      default_ingress: deny
sandboxes:
  web:
    netns: ${lab.ns('web')}
    networks: { front: { ipv4_address: ${WEB[4]}, ipv6_address: "${WEB[6]}" } }
  db:
    netns: ${lab.ns('db')}
    networks: { back: { ipv4_address: ${DB[4]}, ipv6_address: "${DB[6]}"${rate} } }
`
}

/** A server that answers whatever comes. */
async function serve(lab: Lab, at: string, port: number) {
  const code = `require('net').createServer(s => { s.on('error', () => {});
    s.on('data', () => s.write('hello')) }).listen(${port}, '::', () => console.log('up'))`
  const child = lab.spawn(at, process.execPath, '-e', code)
  await new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()))
}

/** What the server says; empty: nothing in two seconds. */
async function ask(lab: Lab, from: string, address: string, port: number): Promise<string> {
  const code = `setTimeout(() => process.exit(3), 2000);
    const s = require('net').connect(${port}, '${address}', () => s.write('x'));
    s.on('data', d => { process.stdout.write(d); process.exit(0) });
    s.on('error', e => { console.log(e.code); process.exit(0) })`
  return (await lab.exec(from, process.execPath, '-e', code)).stdout.trim()
}

/** A connection that asks every 20 ms; resolves when it was answered once. */
async function talk(lab: Lab, from: string, address: string, port: number) {
  const code = `const s = require('net').connect(${port}, '${address}'); s.on('error', () => {});
    s.on('data', d => process.stdout.write(d)); setInterval(() => s.write('x'), 20)`
  const child = lab.spawn(from, process.execPath, '-e', code)
  await new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()))
  const conversation = { answers: 0, end: () => child.kill('SIGKILL') }
  child.stdout!.on('data', () => conversation.answers++)
  return conversation
}

/** Mbit/s that arrive of what is sent for `ms`, the first fifth of the time left out. */
async function throughput(lab: Lab, from: string, to: string, ms: number): Promise<number> {
  const [at, address] = to.split(' ') as [string, string]
  const sink = `require('net').createServer(s => { let n = 0, on = false;
    setTimeout(() => { on = true }, ${ms / 5});
    setTimeout(() => { console.log(n * 8 / ${ms * 0.8} / 1000); process.exit(0) }, ${ms});
    s.on('data', d => { if (on) n += d.length }); s.on('error', () => {}) })
    .listen(5001, '::', () => console.log('up'))`
  const server = lab.spawn(at, process.execPath, '-e', sink)
  const said = () => new Promise<string>((go) => server.stdout!.once('data', (d) => go(String(d))))
  await said()
  const flood = `const s = require('net').connect(5001, '${address}'); const b = Buffer.alloc(65536);
    const go = () => { while (s.write(b)); }; s.on('connect', go); s.on('drain', go);
    s.on('error', () => process.exit(0)); s.on('close', () => process.exit(0))`
  const client = lab.spawn(from, process.execPath, '-e', flood)
  const result = Number(await said())
  client.kill('SIGKILL')
  return result
}

describe('policy', () => {
  const lab = new Lab()

  beforeAll(async () => {
    await lab.up(file(lab, '[80, "8000-8010"]'))
    for (const port of [80, 81, 8005]) await serve(lab, 'db', port)
    await serve(lab, 'web', 80)
  })

  afterAll(async () => {
    expect(await lab.end()).toEqual({ code: 0, left: [] })
  })

  it.each(FAMILIES)('lets what a rule allows in, and the rest not: IPv%i', async (family) => {
    expect(await ask(lab, 'web', DB[family], 80)).toBe('hello')
    expect(await ask(lab, 'web', DB[family], 8005)).toBe('hello')
    expect(await ask(lab, 'web', DB[family], 81)).toBe('')
    expect(await lab.ping('web', DB[family])).toBe(0)
  })

  it.each(FAMILIES)('lets answers in without a rule: IPv%i', async (family) => {
    expect(await ask(lab, 'db', WEB[family], 80)).toBe('hello')
    expect(await lab.ping('db', WEB[family])).toBe(3)
  })

  it('tells why', async () => {
    const what = ['--to', DB[4], '--proto', 'tcp', '--dport', '81']
    const { stdout } = await lab.cli('trace', '--from', 'web', ...what)
    expect(stdout).toMatch(/policy db\/eth0 +ingress: denied by the default of network back\n/)
    expect(stdout).toContain('dropped for policy-denied')
    const drops = await lab.json<{ reason: string; count: number }[]>('drops')
    expect(drops.find(({ reason }) => reason === 'policy-denied')?.count).toBeGreaterThan(0)
  })

  it('ends what new rules do not allow, and nothing else', async () => {
    const ended = [await talk(lab, 'web', DB[4], 80), await talk(lab, 'web', DB[6], 80)]
    const kept = await talk(lab, 'web', DB[4], 8005)
    lab.write(file(lab, '["8000-8010", 81]'))
    expect((await lab.cli('apply', lab.file)).stdout).toMatch(/^update +db\/back/m)
    const before = ended.map(({ answers }) => answers)
    const keptBefore = kept.answers
    expect(await ask(lab, 'web', DB[4], 81)).toBe('hello')
    expect(await ask(lab, 'web', DB[6], 80)).toBe('')
    expect(ended.map(({ answers }) => answers)).toEqual(before)
    expect(kept.answers).toBeGreaterThan(keptBefore + 10)
    for (const { end } of [...ended, kept]) end()
  })

  it.each(['ingress', 'egress'])('gives TCP the rate that it has: %s', async (way) => {
    lab.write(file(lab, '[5001]', `, rate: { ${way}: { bits_per_s: 40mbit } }`))
    expect((await lab.cli('apply', lab.file)).code).toBe(0)
    const ends = way === 'ingress' ? ['web', `db ${DB[4]}`] : ['db', `web ${WEB[4]}`]
    const mbit = await throughput(lab, ends[0]!, ends[1]!, 4000)
    expect(mbit).toBeGreaterThan(32)
    expect(mbit).toBeLessThan(48)
  })
})
