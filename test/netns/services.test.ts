/**
 * Virtual addresses as kernels see them: from a neighbor, from a backend itself, from another
 * network and from outside, both families; a backend that dies, and one that drains.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Lab } from './lab.ts'
import { FRONT, OUT4, OWN4 } from './outside.ts'

const VIP4 = '10.1.0.100'
const VIP6 = 'fd00:1::100'

function file(lab: Lab): string {
  const sandbox = (name: string, at: number): string =>
    `  ${name}: { netns: ${lab.ns(name)}, networks: { front: { ipv4_address: 10.1.0.${at}, ` +
    `ipv6_address: "fd00:1::${at}" } } }`
  return `
name: ${lab.prefix}
networks:
${FRONT}
  back:
    ipam: { config: [ { subnet: 10.2.0.0/24 } ] }
sandboxes:
${sandbox('web1', 11)}
${sandbox('web2', 12)}
${sandbox('app', 13)}
  far: { netns: ${lab.ns('far')}, networks: { back: { ipv4_address: 10.2.0.14 } } }
services:
  web:
    network: front
    vip: [ ${VIP4}, "${VIP6}" ]
    ports: [ { target: 80, published: 8081 } ]
    scheduler: rr
    backends: [ web1, web2 ]
    healthcheck: { type: tcp, port: 80, interval: 500ms, timeout: 200ms, retries: 2 }
uplink:
  netns: ${lab.ns('out')}
  addresses: [ ${OWN4}/24 ]
  peer_addresses: [ ${OUT4}/24 ]
  gateway: ${OUT4}
`
}

describe('a service on real TAPs', () => {
  const lab = new Lab()

  async function serve(at: string) {
    const code = `require('net').createServer(s => s.end('${at} ' + s.remoteAddress))
      .listen(80, '::', () => console.log('up'))`
    const child = lab.spawn(at, process.execPath, '-e', code)
    await new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()))
    return child
  }

  /** Answers of `count` connections, one after the other. */
  async function ask(from: string, address: string, port: number, count: number) {
    const code = `setTimeout(() => process.exit(3), 8000).unref()
      const ask = (left) => { if (left === 0) return
        const s = require('net').connect(${port}, '${address}')
        s.on('data', d => console.log(String(d).replace('::ffff:', '')))
        s.on('error', e => console.log(e.code)); s.on('close', () => ask(left - 1)) }
      ask(${count})`
    const { stdout } = await lab.exec(from, process.execPath, '-e', code)
    return stdout.trim().split('\n')
  }

  /** Wait until the daemon says that the backends are so. */
  async function until(states: string): Promise<void> {
    const deadline = performance.now() + 10_000
    let last = ''
    while (performance.now() < deadline) {
      last = (await lab.cli('services')).stdout
      const rows = /(web[12]) .* {2}(up|down) +\d+ +\d+ +\d+$/gm
      const seen = [...last.matchAll(rows)].map(([, name, state]) => `${name}${state}`)
      if (seen.join(' ') === states) return
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    throw new Error(`backends are not "${states}":\n${last}`)
  }

  beforeAll(async () => {
    await lab.up(file(lab))
    await serve('web1')
  })

  afterAll(async () => {
    expect(await lab.end()).toEqual({ code: 0, left: [] })
  })

  it('takes turns among living backends, and each sees the client as it is', async () => {
    await until('web1up web2down')
    expect(await ask('app', VIP4, 80, 3)).toEqual(Array(3).fill('web1 10.1.0.13'))
    const web2 = await serve('web2')
    await until('web1up web2up')
    expect((await ask('app', VIP4, 80, 4)).sort()).toEqual([
      'web1 10.1.0.13',
      'web1 10.1.0.13',
      'web2 10.1.0.13',
      'web2 10.1.0.13',
    ])
    expect((await ask('app', VIP6, 80, 2)).sort()).toEqual(['web1 fd00:1::13', 'web2 fd00:1::13'])
    expect((await ask('far', VIP4, 80, 2)).sort()).toEqual(['web1 10.2.0.14', 'web2 10.2.0.14'])
    expect((await ask('out', OWN4, 8081, 2)).sort()).toEqual([`web1 ${OUT4}`, `web2 ${OUT4}`])
    web2.kill('SIGKILL')
    await until('web1up web2down')
    expect(await ask('app', VIP4, 80, 4)).toEqual(Array(4).fill('web1 10.1.0.13'))
  })

  it('answers a backend that calls its own service', async () => {
    const [answer] = await ask('web1', VIP4, 80, 1)
    expect(answer).toMatch(/^web1 /)
  })

  it('is there for a ping', async () => {
    expect(await lab.ping('app', VIP4)).toBe(3)
    expect(await lab.ping('app', VIP6)).toBe(3)
  })
})
