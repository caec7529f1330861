/**
 * To the outside and in from it, as kernels see it: masquerade, published ports, hairpin, a
 * network that is not let out; both families, both engines, a TAP and a borrowed interface.
 */
import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask, serve } from './ask.ts'
import { Lab } from './lab.ts'
import { expectOut, FRONT, OUT4, OUT6, OWN4, OWN6, onFront } from './outside.ts'

function file(lab: Lab, uplink: string): string {
  return `
name: ${lab.prefix}
networks:
${FRONT}
  plain:
    driver_opts: { com.docker.network.bridge.enable_ip_masquerade: "false" }
    ipam: { config: [ { subnet: 10.2.0.0/24 } ] }
  vault:
    internal: true
    ipam: { config: [ { subnet: 10.3.0.0/24 } ] }
sandboxes:
${onFront(lab, 'web', 11)}
    ports: [ "8080:80", "5353:53/udp", "9000-9999:9000-9999" ]
${onFront(lab, 'app', 12)}
  bare:
    netns: ${lab.ns('bare')}
    networks: { plain: { ipv4_address: 10.2.0.13 } }
  safe:
    netns: ${lab.ns('safe')}
    networks: { vault: { ipv4_address: 10.3.0.14 } }
uplink:
  ${uplink}
  addresses: [ ${OWN4}/24, "${OWN6}/64" ]
  gateway: [ ${OUT4}, "${OUT6}" ]
`
}

const engines = ['io_uring', 'poll'] as const

for (const engine of engines) {
  describe(`uplink on a TAP, ${engine}`, () => {
    const lab = new Lab()

    beforeAll(async () => {
      const peers = `peer_addresses: [ ${OUT4}/24, "${OUT6}/64" ]`
      const uplink = `netns: ${lab.ns('out')}\n  ${peers}`
      await lab.up(file(lab, uplink), ['--engine', engine])
    })

    afterAll(async () => {
      expect(await lab.end()).toEqual({ code: 0, left: [] })
    })

    it('lets sandboxes out under its own address', async () => {
      await expectOut(lab, 'out', [
        [OUT4, OWN4],
        [OUT6, OWN6],
      ])
    })

    it('lets published ports in, and the client is seen as it is', async () => {
      const server = await serve(lab, 'web', 80)
      expect(await ask(lab, 'out', OWN4, 8080)).toBe(`from ${OUT4}`)
      expect(await ask(lab, 'out', OWN6, 8080)).toBe(`from ${OUT6}`)
      server.kill('SIGKILL')
      const udp = await serve(lab, 'web', 53, 'udp')
      expect(await ask(lab, 'out', OWN4, 5353, 'udp')).toBe(`from ${OUT4}`)
      expect(await ask(lab, 'out', OWN6, 5353, 'udp')).toBe(`from ${OUT6}`)
      udp.kill('SIGKILL')
      const last = await serve(lab, 'web', 9999)
      expect(await ask(lab, 'out', OWN4, 9999)).toBe(`from ${OUT4}`)
      last.kill('SIGKILL')
    })

    it('leads a sandbox to a published port of a neighbor, which sees it as it is', async () => {
      const server = await serve(lab, 'web', 80)
      expect(await ask(lab, 'app', OWN4, 8080)).toBe('from 10.1.0.12')
      expect(await ask(lab, 'app', OWN6, 8080)).toBe('from fd00:1::12')
      expect(await ask(lab, 'bare', OWN4, 8080)).toBe('from 10.2.0.13')
      server.kill('SIGKILL')
    })

    it('lets nothing in that is not published', async () => {
      const server = await serve(lab, 'web', 7003)
      await lab.exec('out', 'ip', 'route', 'add', '10.1.0.0/24', 'via', OWN4)
      expect(await ask(lab, 'out', '10.1.0.11', 7003)).not.toContain('from')
      expect(await ask(lab, 'out', OWN4, 7003)).toBe('ECONNREFUSED')
      server.kill('SIGKILL')
    })

    it('translates no network that is not masqueraded, lets no internal one out', async () => {
      const server = await serve(lab, 'out', 7004)
      await lab.exec('out', 'ip', 'route', 'add', '10.2.0.0/24', 'via', OWN4)
      expect(await ask(lab, 'bare', OUT4, 7004)).toBe('from 10.2.0.13')
      expect(await ask(lab, 'safe', OUT4, 7004)).not.toContain('from')
      server.kill('SIGKILL')
    })

    it('tells the outside of a closed port by an error about what was sent', async () => {
      const { stdout } = await lab.exec('out', 'ping', '-c1', '-W1', OWN4)
      expect(stdout).toContain('1 received')
      expect(await ask(lab, 'out', OWN4, 8080)).toBe('ECONNREFUSED')
    })
  })
}

describe('uplink on an interface that is there', () => {
  const lab = new Lab()

  beforeAll(async () => {
    const [out, host] = [lab.ns('out'), lab.ns('host')]
    for (const name of [out, host]) execFileSync('ip', ['netns', 'add', name])
    const ip = (...args: string[]): void => {
      execFileSync('ip', args)
    }
    ip('-n', host, 'link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', out)
    ip('-n', host, 'link', 'set', 'eth1', 'up')
    ip('-n', out, 'link', 'set', 'eth0', 'up')
    ip('-n', out, 'link', 'set', 'lo', 'up')
    ip('-n', out, 'addr', 'add', `${OUT4}/24`, 'dev', 'eth0')
    ip('-n', out, 'addr', 'add', `${OUT6}/64`, 'dev', 'eth0', 'nodad')
    await lab.up(file(lab, `netns: ${host}\n  interface: eth1`))
  })

  afterAll(async () => {
    await lab.close()
  })

  it('lets sandboxes out and published ports in, beside the host', async () => {
    const outer = await serve(lab, 'out', 7001)
    expect(await ask(lab, 'app', OUT4, 7001)).toBe(`from ${OWN4}`)
    expect(await ask(lab, 'app', OUT6, 7001)).toBe(`from ${OWN6}`)
    outer.kill('SIGKILL')
    const server = await serve(lab, 'web', 80)
    expect(await ask(lab, 'out', OWN4, 8080)).toBe(`from ${OUT4}`)
    expect(await ask(lab, 'out', OWN6, 8080)).toBe(`from ${OUT6}`)
    server.kill('SIGKILL')
  })
})
