/** CNI calls against a daemon in memory: every verb, version and way to go wrong. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runPlugin } from '../../../services/cni/plugin.ts'
import { BIGGER, DaemonLab, eventually, SHOP } from '../daemon_lab.ts'

type Fields = Record<string, unknown>

const bin = mkdtempSync(join(tmpdir(), 'tapline-cni-'))
afterAll(() => rmSync(bin, { recursive: true, force: true }))

/** Ports of containers are the host's, by an uplink. */
const PUBLISHING = `${SHOP}uplink: { netns: outside, addresses: [ 203.0.113.2/24 ] }
`

describe('the CNI plugin', () => {
  let lab: DaemonLab

  beforeEach(async () => {
    lab = new DaemonLab(PUBLISHING)
    await lab.daemon.start()
  })

  afterEach(async () => {
    expect(await lab.close()).toEqual([])
  })

  const conf = (more: Fields = {}): Fields => ({
    cniVersion: '1.1.0',
    name: 'pods',
    type: 'tapline',
    network: 'front',
    socket: lab.socketPath,
    ...more,
  })

  const env = (command: string, more: Record<string, string> = {}) => ({
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'default-c1',
    CNI_NETNS: '/run/netns/c1',
    CNI_IFNAME: 'eth0',
    CNI_PATH: bin,
    ...more,
  })

  /** What a call prints that must succeed. */
  async function done(command: string, more: Fields = {}, vars: Record<string, string> = {}) {
    const { exitCode, output } = await runPlugin(env(command, vars), JSON.stringify(conf(more)))
    if (exitCode !== 0) throw new Error(JSON.stringify(output))
    return output as Fields | undefined
  }

  /** Code and message of a call that must fail. */
  async function refused(command: string, more: Fields = {}, vars: Record<string, string> = {}) {
    const { exitCode, output } = await runPlugin(env(command, vars), JSON.stringify(conf(more)))
    expect(exitCode).toBe(1)
    const { code, msg } = output as Fields
    return `${code} ${msg}`
  }

  it('adds, checks and deletes', async () => {
    const result = await done('ADD')
    expect(result).toEqual({
      cniVersion: '1.1.0',
      interfaces: [{ name: 'eth0', mac: '02:42:0a:01:00:02', mtu: 1500, sandbox: '/run/netns/c1' }],
      ips: [{ address: '10.1.0.2/24', gateway: '10.1.0.1', interface: 0 }],
      routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }],
      dns: {},
    })
    const host = lab.links.host('/run/netns/c1')!
    await host.ping('10.1.0.11')
    await host.ping('10.2.0.12')
    expect(await done('CHECK', { prevResult: result })).toBeUndefined()
    expect(await done('DEL')).toBeUndefined()
    expect(await done('DEL')).toBeUndefined()
    expect(await refused('CHECK', { prevResult: result })).toBe('3 default-c1/eth0 is not attached')
    expect(lab.daemon.controller.ls().sandboxes).toHaveLength(3)
  })

  it('speaks each version that it knows', async () => {
    for (const cniVersion of ['0.3.0', '0.3.1', '0.4.0']) {
      const { ips, interfaces } = (await done('ADD', { cniVersion })) as { [key: string]: Fields[] }
      expect(ips![0]).toMatchObject({ version: '4', interface: 0 })
      expect(interfaces![0]).not.toHaveProperty('mtu')
      await done('DEL', { cniVersion })
    }
    const { ips } = (await done('ADD', { cniVersion: '1.0.0' })) as { ips: Fields[] }
    expect(ips[0]).not.toHaveProperty('version')
    expect(await refused('ADD', { cniVersion: '0.2.0' })).toMatch(/^1 cniVersion "0.2.0"/)
    expect(await runPlugin({ CNI_COMMAND: 'VERSION' }, '{"cniVersion":"1.0.0"}')).toEqual({
      exitCode: 0,
      output: {
        cniVersion: '1.0.0',
        supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'],
      },
    })
  })

  it('does what the runtime asks for by capabilities', async () => {
    const runtimeConfig = {
      ips: ['10.1.0.77/24'],
      mac: '02:00:00:00:00:77',
      aliases: { pods: ['api'] },
      portMappings: [
        { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
        { hostPort: 5353, containerPort: 53, protocol: 'udp', hostIP: '203.0.113.2' },
        { hostPort: 0, containerPort: 81 },
      ],
      bandwidth: { ingressRate: 8_000_000, ingressBurst: 4_000_000, egressRate: 1_000_000 },
      dns: { servers: ['10.1.0.1'], searches: ['shop'] },
    }
    const result = await done('ADD', { runtimeConfig, mtu: 1400, dns: { domain: 'lan' } })
    expect(result).toMatchObject({
      interfaces: [{ mac: '02:00:00:00:00:77', mtu: 1400 }],
      ips: [{ address: '10.1.0.77/24' }],
      dns: { nameservers: ['10.1.0.1'], search: ['shop'], domain: 'lan' },
    })
    const published = lab.daemon.controller.ports().map(({ published: port }) => port)
    expect(published).toEqual(['8080/tcp', '203.0.113.2:5353/udp'])
    const { state } = lab.daemon.controller.node
    expect(state.endpoints.get('default-c1/front')).toMatchObject({
      aliases: ['api'],
      rate: {
        ingress: { bitsPerS: 8_000_000, burstMs: 500 },
        egress: { bitsPerS: 1_000_000, burstMs: 250 },
      },
    })
  })

  it('refuses in codes of the specification', async () => {
    const ips = (...list: string[]) => ({ runtimeConfig: { ips: list } })
    const ports = (hostPort: number) => ({
      runtimeConfig: { portMappings: [{ hostPort, containerPort: 80 }] },
    })
    expect(await refused('ADD', { network: 'nowhere' })).toBe('7 no network "nowhere"')
    expect(await refused('ADD', ips('10.9.0.1/24'))).toMatch(/^7 .*10.9.0.1\/24 is not of network/)
    expect(await refused('ADD', ips('10.1.0.11/24'))).toMatch(/^101 .*taken by sandbox "web1"/)
    expect(await refused('ADD', ips('10.1.0.71', '10.1.0.72'))).toMatch(/^7 .*one IPv4 address/)
    expect(await refused('ADD', { mtu: 9000 })).toMatch(/^7 .*MTU 9000/)
    expect(await refused('ADD', { runtimeConfig: { mac: 'x' } })).toMatch(/^7 /)
    expect(await refused('ADD', ports(70_000))).toMatch(/^7 .*70000/)
    expect(await refused('ADD', { name: '' })).toMatch(/^7 .*"name"/)
    expect(await refused('ADD', { runtimeConfig: [] })).toMatch(/^7 .*"runtimeConfig"/)
    expect(await refused('ADD', {}, { CNI_NETNS: 'c1' })).toMatch(/^4 CNI_NETNS/)
    expect(await refused('ADD', {}, { CNI_IFNAME: 'a/b' })).toMatch(/^4 CNI_IFNAME/)
    expect(await refused('ADD', {}, { CNI_CONTAINERID: '' })).toMatch(/^4 CNI_CONTAINERID/)
    expect(await refused('DANCE')).toMatch(/^4 CNI_COMMAND is "DANCE"/)
    expect(await refused('ADD', {}, { CNI_IFNAME: 'lo' })).toMatch(/^4 CNI_IFNAME/)
    expect(await refused('CHECK')).toBe('7 "prevResult" is missing')
    expect(await refused('ADD', { ipam: { type: 'none-such' } })).toMatch(/^7 no IPAM plugin/)
    const { output } = await runPlugin(env('ADD'), '{')
    expect(output).toMatchObject({ code: 6, cniVersion: '1.1.0' })
    await done('ADD', ports(8080))
    const odd = { prevResult: { ips: [null] } }
    expect(await refused('CHECK', odd)).toBe('7 "ips" is not an object')
    const twin = { runtimeConfig: { mac: '02:42:0a:01:00:02' } }
    expect(await refused('ADD', twin, { CNI_CONTAINERID: 'c2' })).toMatch(
      /^101 .* is taken by sandbox "default-c1" on this network/,
    )
    expect(await refused('ADD')).toMatch(/^101 .*attached already/)
    expect(await refused('ADD', ports(8080), { CNI_CONTAINERID: 'c2' })).toMatch(/^101 .*8080/)
    expect(lab.daemon.controller.ls().sandboxes).toHaveLength(4)
  })

  it('refuses ports that nothing leads to', async () => {
    await lab.client.post('apply', { file: lab.file, text: SHOP })
    const portMappings = [{ hostPort: 8080, containerPort: 80 }]
    expect(await refused('ADD', { runtimeConfig: { portMappings } })).toBe(
      '7 port 8080:80/tcp cannot be published: the daemon\'s file has no "uplink", ' +
        'by which the host would lead to it',
    )
    expect(lab.daemon.attachments.list()).toEqual([])
  })

  it('refuses an MTU that is too small for IPv6', async () => {
    const text = SHOP.replace('front: {', 'front: { enable_ipv6: true,')
    await lab.client.post('apply', { file: lab.file, text })
    expect(await refused('ADD', { mtu: 1279 })).toBe('7 MTU 1279: IPv6 needs 1280 or more')
  })

  it('knows whether it could work, and fares without a daemon', async () => {
    expect(await done('STATUS')).toBeUndefined()
    expect(await refused('STATUS', { network: 'nowhere' })).toMatch(/^50 .*no network "nowhere"/)
    const socket = `${lab.socketPath}.none`
    expect(await refused('STATUS', { socket })).toMatch(/^50 no daemon listens/)
    expect(await refused('ADD', { socket })).toMatch(/^11 no daemon listens/)
    expect(await done('DEL', { socket })).toBeUndefined()
  })

  it('collects what the runtime no longer knows, of its own configuration only', async () => {
    const ids = ['c1', 'c2', 'c3']
    for (const id of ids) {
      await done('ADD', {}, { CNI_CONTAINERID: id, CNI_NETNS: `/run/netns/${id}` })
    }
    await done('ADD', { name: 'others' }, { CNI_CONTAINERID: 'c4', CNI_NETNS: '/run/netns/c4' })
    const valid = [{ containerID: 'c2', ifname: 'eth0' }]
    expect(await done('GC', { 'cni.dev/valid-attachments': valid })).toBeUndefined()
    const left = lab.daemon.attachments.list().map(({ id }) => id)
    expect(left).toEqual(['c2', 'c4'])
    expect(await refused('GC')).toMatch(/^7 .*valid-attachments/)
  })

  it('keeps containers over an apply of the file, which cannot take their network', async () => {
    await done('ADD')
    writeFileSync(lab.file, BIGGER)
    await lab.daemon.reload()
    const names = () => lab.daemon.controller.ls().sandboxes.map(({ name }) => name)
    expect(new Set(names())).toEqual(new Set(['web1', 'web2', 'db', 'web3', 'default-c1']))
    await lab.links.host('/run/netns/c1')!.ping('10.1.0.13')
    const without = `name: shop\nnetworks:\n  back: {}\n`
    await expect(
      lab.client.post('apply', { text: without, file: 'x.yaml', dryRun: false }),
    ).rejects.toThrow(/network "front" is gone, and container "default-c1" is on it/)
    expect(names()).toHaveLength(5)
    await done('DEL')
    writeFileSync(lab.file, SHOP)
    await lab.daemon.reload()
    expect(names()).toHaveLength(3)
  })

  it('goes on with others after the namespace of one has ended', async () => {
    const prevResult = await done('ADD')
    lab.links.cut('default-c1/eth0')
    await eventually(() => lab.logged.some((line) => line.startsWith('lost default-c1')))
    await done('ADD', {}, { CNI_CONTAINERID: 'c2', CNI_NETNS: '/run/netns/c2' })
    await lab.daemon.reload()
    expect(await refused('CHECK', { prevResult })).toMatch(/^102 .*is gone/)
    await done('DEL')
    expect(lab.daemon.attachments.list().map(({ id }) => id)).toEqual(['c2'])
  })

  it('asks an IPAM plugin where one is named', async () => {
    const script = (answer: object, status = 0) => {
      const file = join(bin, 'fixed')
      const lines = ['#!/bin/sh', `echo $CNI_COMMAND >> ${bin}/calls`, 'cat > /dev/null']
      const text = `echo '${JSON.stringify(answer)}'; exit ${status}`
      writeFileSync(file, `${[...lines, text].join('\n')}\n`)
      chmodSync(file, 0o755)
    }
    const ipam = { type: 'fixed' }
    script({ ips: [{ address: '10.1.0.99/24' }] })
    expect(await done('ADD', { ipam })).toMatchObject({ ips: [{ address: '10.1.0.99/24' }] })
    await done('DEL', { ipam })
    script({ ips: [{ address: '10.77.0.99/24' }] })
    expect(await refused('ADD', { ipam })).toMatch(/^7 .*10.77.0.99/)
    script({ code: 11, msg: 'later' }, 1)
    expect(await refused('ADD', { ipam })).toBe('11 later')
    const { readFileSync } = await import('node:fs')
    expect(readFileSync(join(bin, 'calls'), 'utf8').trim().split('\n')).toEqual([
      ...['ADD', 'DEL', 'ADD', 'DEL', 'ADD'],
    ])
  })

  it('survives anything on stdin and in the environment', async () => {
    const key = fc.constantFrom(
      ...['cniVersion', 'name', 'network', 'runtimeConfig', 'ipam', 'dns', 'prevResult', 'mtu'],
      'cni.dev/valid-attachments',
    )
    const text = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .dictionary(key, fc.jsonValue())
        .map((value) => JSON.stringify({ ...conf(), ...value, socket: lab.socketPath })),
    )
    const command = fc.constantFrom('ADD', 'DEL', 'CHECK', 'STATUS', 'GC', 'VERSION')
    await fc.assert(
      fc.asyncProperty(command, text, fc.string(), async (verb, stdin, id) => {
        const { exitCode, output } = await runPlugin(env(verb, { CNI_CONTAINERID: id }), stdin)
        if (exitCode === 1) expect(typeof (output as Fields)['code']).toBe('number')
      }),
      { numRuns: 300, seed: 20261129 },
    )
    expect(await done('STATUS')).toBeUndefined()
  })
})
