/**
 * Driver `macvlan` on a veth as parent, beside what the kernel's macvlan does on the same cable.
 *
 * ```text
 *   namespace host                          namespace wire
 *   eth0 (parent) ───────────── veth ────── port ── kernel bridge ── peer (10.9.0.50)
 *     └ our endpoints, or the kernel's macvlan devices   (hairpin: a switch that reflects)
 * ```
 */
import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask, serve } from './ask.ts'
import { hasTool, Lab } from './lab.ts'

const PEER = '10.9.0.50'
const HOST = '10.9.0.1'
const MODES = ['bridge', 'private', 'vepa'] as const
type Mode = (typeof MODES)[number] | 'passthru'

const tcpdump = hasTool('tcpdump', 'tcpdump')

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' })
}

/** Host, wire and peer, without a daemon. `reflect`: the switch sends frames back. */
function cable(lab: Lab, reflect: boolean): void {
  const [host, wire, peer] = [lab.ns('host'), lab.ns('wire'), lab.ns('peer')]
  for (const name of [host, wire, peer]) {
    ip('netns', 'add', name)
    ip('-n', name, 'link', 'set', 'lo', 'up')
  }
  ip('-n', host, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'port', 'netns', wire)
  ip('-n', peer, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far', 'netns', wire)
  ip('-n', wire, 'link', 'add', 'br0', 'type', 'bridge')
  for (const name of ['port', 'far']) {
    ip('-n', wire, 'link', 'set', name, 'master', 'br0')
    ip('-n', wire, 'link', 'set', name, 'up')
  }
  if (reflect) ip('-n', wire, 'link', 'set', 'port', 'type', 'bridge_slave', 'hairpin', 'on')
  ip('-n', wire, 'link', 'set', 'br0', 'up')
  for (const [name, address] of [
    [host, HOST],
    [peer, PEER],
  ] as const) {
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'eth0')
    const six = `fd00:9::${address.split('.')[3]}/64`
    ip('-n', name, 'addr', 'add', six, 'dev', 'eth0', 'nodad')
  }
}

function file(lab: Lab, mode: Mode, more = ''): string {
  const second = `
  b:
    netns: ${lab.ns('b')}
    networks: { lan: { ipv4_address: 10.9.0.12, ipv6_address: "fd00:9::12" } }`
  return `
name: ${lab.prefix}
networks:
  lan:
    driver: macvlan
    enable_ipv6: true
    driver_opts:
      { parent: eth0, macvlan_mode: ${mode}, tapline.parent_netns: ${lab.ns('host')} ${more} }
    ipam:
      config: [ { subnet: 10.9.0.0/24, gateway: ${PEER} },
                { subnet: "fd00:9::/64", gateway: "fd00:9::50" } ]
sandboxes:
  a:
    netns: ${lab.ns('a')}
    networks: { lan: { ipv4_address: 10.9.0.11, ipv6_address: "fd00:9::11" } }
${mode === 'passthru' ? '' : second}
`
}

/** The kernel's devices in place of ours, in the same namespaces and with the same addresses. */
function kernel(lab: Lab, mode: Mode): void {
  for (const [name, host] of [
    ['a', 11],
    ['b', 12],
  ] as const) {
    const netns = lab.ns(name)
    ip('netns', 'add', netns)
    const device = ['link', `eth0`, 'name', `mv${name}`, 'type', 'macvlan', 'mode', mode]
    ip('-n', lab.ns('host'), 'link', 'add', ...device)
    ip('-n', lab.ns('host'), 'link', 'set', `mv${name}`, 'netns', netns, 'name', 'eth0')
    ip('-n', netns, 'addr', 'add', `10.9.0.${host}/24`, 'dev', 'eth0')
    ip('-n', netns, 'addr', 'add', `fd00:9::${host}/64`, 'dev', 'eth0', 'nodad')
    ip('-n', netns, 'link', 'set', 'eth0', 'up')
  }
}

/** Who reaches whom: what a mode means, seen from outside. */
async function reach(lab: Lab): Promise<Record<string, boolean>> {
  const pairs = [
    ['a', PEER],
    ['a', '10.9.0.12'],
    ['b', 'fd00:9::11'],
    ['a', HOST],
    ['peer', '10.9.0.11'],
    ['peer', 'fd00:9::12'],
  ] as const
  const found = pairs.map(async ([from, to]) => {
    return [`${from} ${to}`, (await lab.ping(from, to)) > 0] as const
  })
  return Object.fromEntries(await Promise.all(found))
}

for (const reflect of [false, true]) {
  for (const mode of MODES) {
    describe(`macvlan ${mode}${reflect ? ', a switch that reflects' : ''}`, () => {
      const ours = new Lab()
      const theirs = new Lab()

      beforeAll(async () => {
        for (const lab of [ours, theirs]) cable(lab, reflect)
        kernel(theirs, mode)
        await ours.up(file(ours, mode))
      })

      afterAll(async () => {
        await theirs.close()
        expect((await ours.stop()).code).toBe(0)
        await ours.close()
      })

      it('lets the same reach each other as the kernel does', async () => {
        const [mine, other] = await Promise.all([reach(ours), reach(theirs)])
        // What a switch sends back to the host itself is the host's to judge, and not ours.
        if (mode === 'private') for (const found of [mine, other]) delete found[`a ${HOST}`]
        expect(mine).toEqual(other)
        expect(mine[`a ${PEER}`]).toBe(true)
        const together = mode === 'bridge' || (mode === 'vepa' && reflect)
        expect(mine['a 10.9.0.12']).toBe(together)
      })

      it('moves TCP both ways, in super-frames where it can', async () => {
        const server = await serve(ours, 'peer', 7001)
        expect(await ask(ours, 'a', PEER, 7001)).toBe('from 10.9.0.11')
        expect(await ask(ours, 'a', 'fd00:9::50', 7001)).toBe('from fd00:9::11')
        server.kill('SIGKILL')
        const inside = await serve(ours, 'b', 7002)
        expect(await ask(ours, 'peer', '10.9.0.12', 7002)).toBe(`from ${PEER}`)
        inside.kill('SIGKILL')
      })
    })
  }
}

describe('macvlan and its parent', () => {
  const lab = new Lab()

  beforeAll(async () => {
    cable(lab, false)
    await lab.up(file(lab, 'bridge', ', tapline.host_access: "true"'))
  })

  afterAll(async () => {
    expect((await lab.stop()).code).toBe(0)
    expect(ip('-n', lab.ns('host'), 'link')).not.toContain('mv-lan')
    await lab.close()
  })

  it('reaches the host and is reached by it, by option', async () => {
    expect(await lab.ping('a', HOST)).toBe(3)
    expect(await lab.ping('host', '10.9.0.11')).toBe(3)
    expect(await lab.ping('host', PEER)).toBe(3)
    for (const to of ['fd00:9::11', 'fd00:9::50']) expect(await lab.ping('host', to)).toBe(3)
    expect(await lab.ping('a', 'fd00:9::1')).toBe(3)
    const server = await serve(lab, 'host', 7003)
    expect(await ask(lab, 'b', HOST, 7003)).toBe('from 10.9.0.12')
    expect(await ask(lab, 'b', 'fd00:9::1', 7003)).toBe('from fd00:9::12')
    server.kill('SIGKILL')
    // Machines outside must hear of the host from its own interface only.
    await lab.exec('peer', 'ip', 'neigh', 'flush', 'all')
    expect(await lab.ping('peer', HOST)).toBe(3)
    const own = /link\/ether (\S+)/.exec(ip('-n', lab.ns('host'), 'link', 'show', 'eth0'))![1]
    expect(await lab.ping('peer', 'fd00:9::1')).toBe(3)
    for (const host of [HOST, 'fd00:9::1']) {
      const { stdout } = await lab.exec('peer', 'ip', 'neigh', 'show', host)
      expect(stdout).toContain(own)
    }
  })

  it('has the default route of the network outside', async () => {
    const { stdout } = await lab.exec('a', 'ip', 'route')
    expect(stdout).toContain(`default via ${PEER} dev eth0`)
  })

  it('does not make the parent promiscuous, beyond what a veth needs for a second MAC', () => {
    const shown = ip('-n', lab.ns('host'), '-d', 'link', 'show', 'eth0')
    expect(shown).toContain('promiscuity 1')
  })

  it('shows the parent, and its device in stats', async () => {
    const { networks } = await lab.json<{ networks: { parent: unknown }[] }>('inspect', 'lan')
    const parent = { interface: 'eth0', mode: 'bridge', state: 'up', lost: null }
    expect(networks[0]!.parent).toEqual(parent)
    const { devices } = await lab.json<{ devices: { device: string }[] }>('stats')
    expect(devices.map(({ device }) => device)).toContain('lan@eth0')
  })

  it('survives a parent that goes down and comes back', async () => {
    ip('-n', lab.ns('host'), 'link', 'set', 'eth0', 'down')
    await expect
      .poll(async () => {
        const { networks } = await lab.json<{ networks: { parent: { state: string } }[] }>(
          'inspect',
        )
        return networks[0]!.parent.state
      })
      .toBe('lost')
    expect(await lab.ping('a', '10.9.0.12')).toBe(3)
    ip('-n', lab.ns('host'), 'link', 'set', 'eth0', 'up')
    await expect.poll(() => lab.ping('a', PEER), { timeout: 10_000 }).toBe(3)
    expect(lab.log).toContain('the parent of lan is back')
  })
})

describe('macvlan passthru', () => {
  const lab = new Lab()
  let own = ''

  beforeAll(async () => {
    cable(lab, false)
    own = /link\/ether (\S+)/.exec(ip('-n', lab.ns('host'), 'link', 'show', 'eth0'))![1]!
    ip('-n', lab.ns('host'), 'addr', 'flush', 'dev', 'eth0')
    const yaml = file(lab, 'passthru').replace(
      'ipv4_address',
      `mac_address: "${own}", ipv4_address`,
    )
    await lab.up(yaml)
  })

  afterAll(async () => {
    expect((await lab.stop()).code).toBe(0)
    await lab.close()
  })

  it("has the parent to itself, with the parent's MAC or another", async () => {
    expect(await lab.ping('a', PEER)).toBe(3)
    expect(await lab.ping('peer', '10.9.0.11')).toBe(3)
    await lab.exec('a', 'ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:77:01')
    await lab.exec('peer', 'ip', 'neigh', 'flush', 'all')
    expect(await lab.ping('a', PEER)).toBe(3)
    const shown = ip('-n', lab.ns('host'), '-d', 'link', 'show', 'eth0')
    expect(shown).toContain('promiscuity 2')
  })
})

describe.skipIf(!tcpdump)('macvlan on a trunk', () => {
  const near = new Lab()
  const far = new Lab()

  function trunk(lab: Lab, parent: string, netns: string, at: number): string {
    const network = (vid: number): string => `
  v${vid}:
    driver: macvlan
    driver_opts: { parent: ${parent}.${vid}, tapline.parent_netns: ${netns} }
    ipam: { config: [ { subnet: 10.${vid}.0.0/24, gateway: 10.${vid}.0.99 } ] }`
    const sandbox = (vid: number): string => `
  s${vid}:
    netns: ${lab.ns(`s${vid}`)}
    networks: { v${vid}: { ipv4_address: 10.${vid}.0.${at} } }`
    const vids = [10, 20]
    return `
name: ${lab.prefix}
networks:${vids.map(network).join('')}
sandboxes:${vids.map(sandbox).join('')}
`
  }

  beforeAll(async () => {
    const [host, wire] = [near.ns('host'), near.ns('wire')]
    for (const name of [host, wire]) ip('netns', 'add', name)
    ip('-n', host, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'trunk', 'netns', wire)
    ip('-n', host, 'link', 'set', 'eth0', 'up')
    ip('-n', wire, 'link', 'set', 'trunk', 'up')
    await near.up(trunk(near, 'eth0', host, 1))
    await far.up(trunk(far, 'trunk', wire, 2))
  })

  afterAll(async () => {
    for (const lab of [far, near]) expect((await lab.stop()).code).toBe(0)
    for (const lab of [far, near]) await lab.close()
  })

  it('joins those of one VLAN, and nobody else', async () => {
    const command = ['tcpdump', '-nel', '-i', 'trunk', 'icmp or (vlan and icmp)']
    const dump = near.spawn('wire', ...command)
    let seen = ''
    dump.stdout!.on('data', (data: Buffer) => {
      seen += data.toString()
    })
    await expect
      .poll(async () => {
        await near.ping('s10', '10.10.0.2')
        return seen
      })
      .toContain('vlan')
    expect(await near.ping('s10', '10.10.0.2')).toBe(3)
    expect(await near.ping('s20', '10.20.0.2')).toBe(3)
    await expect.poll(() => seen).toMatch(/vlan 20, .*10\.20\.0\.1 > 10\.20\.0\.2/)
    expect(seen).toMatch(/vlan 10, .*10\.10\.0\.1 > 10\.10\.0\.2/)
    expect(seen).not.toMatch(/vlan 20, .*10\.10\./)
    dump.kill('SIGKILL')
    // The same subnet by the wrong VLAN: nobody is there.
    await near.exec('s10', 'ip', 'addr', 'add', '10.20.0.77/24', 'dev', 'eth0')
    expect(await near.ping('s10', '10.20.0.2', '-I', '10.20.0.77')).toBe(0)
    expect(await near.ping('s10', '10.20.0.1', '-I', '10.20.0.77')).toBe(0)
  })

  it('moves TCP in super-frames under a tag', async () => {
    const bytes = 20_000_000
    const sum = 'require("crypto").createHash("sha1")'
    const listen = `const h = ${sum}; let n = 0; require('net').createServer(s => {
      s.on('data', d => { h.update(d); n += d.length });
      s.on('end', () => console.log(n, h.digest('hex'))) }).listen(7005, () => console.log('up'))`
    const send = `const b = Buffer.alloc(${bytes}, 'tapline'); const h = ${sum}.update(b);
      require('net').connect(7005, '10.10.0.2').end(b); console.log(b.length, h.digest('hex'))`
    const server = far.spawn('s10', process.execPath, '-e', listen)
    let heard = ''
    server.stdout!.on('data', (data: Buffer) => {
      heard += data.toString()
    })
    await expect.poll(() => heard, { timeout: 20_000 }).toContain('up')
    const { stdout } = await near.exec('s10', process.execPath, '-e', send)
    expect(stdout).toContain(`${bytes} `)
    await expect.poll(() => heard, { timeout: 20_000 }).toContain(stdout.trim())
    server.kill('SIGKILL')
  })
})
