/** What networks do with frames: the data path that the node builds, watched from the far ends. */
import { describe, expect, it } from 'vitest'
import { parseAddress, toBytes } from '../../stack/address.ts'
import { hex, Rig } from './rig.ts'

const BROADCAST = 'ffffffffffff'
/** MACs as IPAM makes them of addresses. */
const WEB = '02420a010002'
const DB = '02420a010003'
const GATEWAY = '02420a010001'
const FAR = '02420a020002'
const BACK = '02420a020001'

const TWO = {
  name: 't',
  networks: {
    front: { ipam: { config: [{ subnet: '10.1.0.0/24' }] } },
    back: { ipam: { config: [{ subnet: '10.2.0.0/24' }] } },
  },
  sandboxes: {
    web: { networks: ['front'] },
    db: { networks: ['front'] },
    far: { networks: ['back'] },
  },
}

function ip(text: string): string {
  return Buffer.from(toBytes(parseAddress(text))).toString('hex')
}

function arpRequest(o: { mac: string; from: string; to: string }): Buffer {
  const { mac, from, to } = o
  return hex(
    `${BROADCAST} ${mac} 0806 0001 0800 06 04 0001 ${mac} ${ip(from)} 000000000000 ${ip(to)}`,
  )
}

/** An ICMP echo request of 8 octets of payload. */
function ping(o: { mac: string; to: string; from: string; target: string }): Buffer {
  const header = hex(`4500 0024 0001 4000 40 01 0000 ${ip(o.from)} ${ip(o.target)}`)
  header.writeUInt16BE(checksum(header), 10)
  const message = hex('0800 0000 0102 0001 6162636465666768')
  message.writeUInt16BE(checksum(message), 2)
  return Buffer.concat([hex(`${o.to} ${o.mac} 0800`), header, message])
}

function checksum(bytes: Buffer): number {
  let total = 0
  for (let i = 0; i < bytes.length; i += 2) total += bytes.readUInt16BE(i)
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return ~total & 0xffff
}

async function up(file: object): Promise<Rig> {
  const rig = new Rig()
  await rig.apply(file)
  rig.quiet()
  return rig
}

const FROM_WEB = { mac: WEB, from: '10.1.0.2' }

function dropped(rig: Rig): string[] {
  return rig.controller.drops().map(({ device, reason, count }) => `${device} ${reason} ${count}`)
}

describe('on one network', () => {
  it('frames go to the station that has the address, and only there', async () => {
    const rig = await up(TWO)
    const frame = ping({ ...FROM_WEB, to: DB, target: '10.1.0.3' })
    rig.inject('web/eth0', frame)
    expect(rig.received('db/eth0')).toEqual([frame.toString('hex')])
    expect(rig.received('web/eth0')).toEqual([])
    expect(rig.received('far/eth0')).toEqual([])
    await rig.finish()
  })

  it('the proxy answers for endpoints and for the gateway', async () => {
    const rig = await up(TWO)
    for (const [address, mac] of [
      ['10.1.0.3', DB],
      ['10.1.0.1', GATEWAY],
    ] as const) {
      rig.inject('web/eth0', arpRequest({ ...FROM_WEB, to: address }))
      const [reply, ...more] = rig.received('web/eth0')
      expect(reply).toContain(`${WEB}${mac}08060001080006040002${mac}${ip(address)}${WEB}`)
      expect(more).toEqual([])
      expect(rig.received('db/eth0')).toEqual([])
    }
    await rig.finish()
  })

  it('without the proxy, questions go to everybody', async () => {
    const quiet = { ...TWO.networks.front, driver_opts: { 'tapline.arp_proxy': 'false' } }
    const rig = await up({ ...TWO, networks: { ...TWO.networks, front: quiet } })
    rig.inject('web/eth0', arpRequest({ ...FROM_WEB, to: '10.1.0.3' }))
    expect(rig.received('db/eth0')).toHaveLength(1)
    rig.inject('web/eth0', arpRequest({ ...FROM_WEB, to: '10.1.0.1' }))
    expect(rig.received('web/eth0')[0]).toContain(`${WEB}${GATEWAY}0806`)
    await rig.finish()
  })

  it('who joins is announced to who is there', async () => {
    const rig = await up(TWO)
    const late = { networks: { front: { ipv4_address: '10.1.0.9' } } }
    await rig.apply({ ...TWO, sandboxes: { ...TWO.sandboxes, late } })
    const [heard] = rig.received('web/eth0')
    expect(heard).toContain(`${BROADCAST}02420a01000908060001080006040001`)
    expect(rig.received('late/eth0')).toEqual([])
    await rig.finish()
  })

  it('stations and bindings are guarded', async () => {
    const rig = await up(TWO)
    rig.inject('web/eth0', ping({ ...FROM_WEB, mac: DB, to: GATEWAY, target: '10.1.0.1' }))
    rig.inject('web/eth0', arpRequest({ mac: WEB, from: '10.1.0.3', to: '10.1.0.9' }))
    expect(dropped(rig).sort()).toEqual(['web/eth0 arp-spoofed 1', 'web/eth0 mac-spoofed 1'])
    await rig.finish()
  })

  it('the MAC guard can be off', async () => {
    const open = { ...TWO.networks.front, driver_opts: { 'tapline.mac_guard': 'false' } }
    const rig = await up({ ...TWO, networks: { ...TWO.networks, front: open } })
    rig.inject('web/eth0', ping({ ...FROM_WEB, mac: '020000000099', to: DB, target: '10.1.0.3' }))
    expect(rig.received('db/eth0')).toHaveLength(1)
    expect(rig.controller.fdb('front').filter((row) => !row.static)).toMatchObject([
      { network: 'front', mac: '02:00:00:00:00:99', port: 'web/eth0' },
    ])
    await rig.finish()
  })

  it('without inter-container traffic only the gateway is reached', async () => {
    const icc = 'com.docker.network.bridge.enable_icc'
    const apart = { ...TWO.networks.front, driver_opts: { [icc]: 'false' } }
    const rig = await up({ ...TWO, networks: { ...TWO.networks, front: apart } })
    rig.inject('web/eth0', ping({ ...FROM_WEB, to: DB, target: '10.1.0.3' }))
    expect(rig.received('db/eth0')).toEqual([])
    rig.inject('web/eth0', ping({ ...FROM_WEB, to: GATEWAY, target: '10.1.0.1' }))
    expect(rig.received('web/eth0')).toHaveLength(1)
    expect(dropped(rig)).toEqual(['web/eth0 bridge-isolated 1'])
    await rig.finish()
  })

  it('storm limits hold', async () => {
    const limited = { networks: { front: { driver_opts: { 'tapline.storm_broadcast': 0 } } } }
    const rig = await up({ ...TWO, sandboxes: { ...TWO.sandboxes, web: limited } })
    rig.inject('web/eth0', hex(`${BROADCAST} ${WEB} 88b5 0000`))
    // Its announcement, made by the node, falls under the limit as well.
    expect(dropped(rig)).toEqual(['(node) storm-broadcast 1', 'web/eth0 storm-broadcast 1'])
    await rig.finish()
  })

  it('VLANs keep stations apart, and a trunk carries them with tags', async () => {
    const vlan = (options: object): object => ({ networks: { front: { driver_opts: options } } })
    const rig = await up({
      name: 't',
      networks: {
        front: {
          driver_opts: { 'tapline.vlan_filtering': true },
          ipam: { config: [{ subnet: '10.1.0.0/24' }] },
        },
      },
      sandboxes: {
        web: vlan({ 'tapline.vlan_pvid': 10 }),
        db: vlan({ 'tapline.vlan_pvid': 20 }),
        trunk: vlan({ 'tapline.vlan_tagged': '10,20' }),
        plain: { networks: ['front'] },
      },
    })
    // The first of each VLAN is announced to nobody.
    expect(dropped(rig)).toEqual(['(node) bridge-no-port 2'])
    rig.inject('web/eth0', hex(`${BROADCAST} ${WEB} 88b5 0102`))
    expect(rig.received('trunk/eth0')).toEqual([`${BROADCAST}${WEB}8100000a88b50102`])
    expect(rig.received('db/eth0')).toEqual([])
    expect(rig.received('plain/eth0')).toEqual([])
    rig.inject('trunk/eth0', hex(`${DB} 020000000077 8100 0014 88b5 0102`))
    expect(rig.received('db/eth0')).toEqual([`${DB}02000000007788b50102`])
    const plain = { mac: '02420a010005', from: '10.1.0.5' }
    rig.inject('plain/eth0', ping({ ...plain, to: GATEWAY, target: '10.1.0.1' }))
    expect(rig.received('plain/eth0')).toHaveLength(1)
    await rig.finish()
  })
})

describe('between networks', () => {
  it('packets are routed, with a TTL less, and no question is asked of the network', async () => {
    const rig = await up(TWO)
    rig.inject('web/eth0', ping({ ...FROM_WEB, to: GATEWAY, target: '10.2.0.2' }))
    const [routed, ...more] = rig.received('far/eth0')
    expect(more).toEqual([])
    expect(routed).toContain(`${FAR}${BACK}0800450000240001`)
    expect(Number.parseInt(routed!.slice(2 * 22, 2 * 23), 16)).toBe(63)
    expect(rig.controller.neigh()).toMatchObject([
      { network: 'back', address: '10.2.0.2', mac: '02:42:0a:02:00:02', state: 'reachable' },
    ])
    await rig.apply({ ...TWO, sandboxes: { web: TWO.sandboxes.web } })
    expect(rig.controller.neigh()).toEqual([])
    await rig.finish()
  })

  it('without the proxy the router asks', async () => {
    const back = { ...TWO.networks.back, driver_opts: { 'tapline.arp_proxy': 'false' } }
    const rig = await up({ ...TWO, networks: { ...TWO.networks, back } })
    rig.inject('web/eth0', ping({ ...FROM_WEB, to: GATEWAY, target: '10.2.0.2' }))
    const [question] = rig.received('far/eth0')
    expect(question).toContain(`${BACK}08060001080006040001${BACK}${ip('10.2.0.1')}`)
    const answer = `${BACK} ${FAR} 0806 0001 0800 06 04 0002 ${FAR} ${ip('10.2.0.2')}`
    rig.inject('far/eth0', hex(`${answer} ${BACK} ${ip('10.2.0.1')}`))
    const [routed] = rig.received('far/eth0')
    expect(routed).toContain(`${FAR}${BACK}0800450000240001`)
    await rig.finish()
  })

  it('an internal network is not routed, but its gateway answers', async () => {
    const back = { ...TWO.networks.back, internal: true }
    const rig = await up({ ...TWO, networks: { ...TWO.networks, back } })
    rig.inject('web/eth0', ping({ ...FROM_WEB, to: GATEWAY, target: '10.2.0.2' }))
    expect(rig.received('far/eth0')).toEqual([])
    expect(dropped(rig)).toEqual(['web/eth0 network-internal 1'])
    rig.inject('far/eth0', ping({ mac: FAR, from: '10.2.0.2', to: BACK, target: '10.2.0.1' }))
    expect(rig.received('far/eth0')).toHaveLength(1)
    await rig.finish()
  })

  it('static and blackhole routes are there, and go with the file', async () => {
    const routes = [
      { to: '10.9.0.0/16', via: '10.2.0.2' },
      { to: '10.8.0.0/16', blackhole: true },
    ]
    const rig = await up({ ...TWO, routes })
    const shown = rig.controller.routes()
    expect(shown).toContainEqual({
      destination: '10.9.0.0/16',
      kind: 'static',
      via: '10.2.0.2',
      network: 'back',
    })
    expect(shown).toContainEqual({
      destination: '10.8.0.0/16',
      kind: 'blackhole',
      via: null,
      network: null,
    })
    rig.inject('web/eth0', ping({ ...FROM_WEB, to: GATEWAY, target: '10.8.0.1' }))
    expect(dropped(rig)).toEqual(['web/eth0 route-blackhole 1'])
    await rig.apply(TWO)
    expect(rig.controller.routes().map((row) => row.kind)).toEqual(['connected', 'connected'])
    await rig.finish()
  })

  it('a network that is made anew keeps its routes', async () => {
    const routes = [{ to: '10.9.0.0/16', via: '10.2.0.2' }]
    const rig = await up({ ...TWO, routes })
    const back = { ...TWO.networks.back, internal: false, enable_ipv6: true }
    await rig.apply({ ...TWO, networks: { ...TWO.networks, back }, routes })
    expect(rig.controller.routes().filter(({ kind }) => kind === 'static')).toHaveLength(1)
    await rig.finish()
  })

  it('with IPv6 advertises its router', async () => {
    const six = { enable_ipv6: true, ipam: { config: [{ subnet: 'fd00:1::/64' }] } }
    const rig = await up({
      name: 't',
      networks: { six },
      sandboxes: { web: { networks: ['six'] } },
    })
    rig.pass(20_000)
    const advertised = rig.received('web/eth0').filter((frame) => frame.slice(108, 110) === '86')
    expect(advertised.length).toBeGreaterThan(0)
    await rig.finish()
  })
})

describe('captures', () => {
  it('see both directions of the devices they name, and nothing after they end', async () => {
    const rig = await up(TWO)
    const seen: string[] = []
    const stop = rig.controller.attachCapture(['web/eth0'], (device, direction, mem, at, bytes) => {
      seen.push(
        `${device} ${direction} ${Buffer.from(mem.slice(at, at + 6)).toString('hex')} ${bytes}`,
      )
    })
    rig.inject('web/eth0', ping({ ...FROM_WEB, to: GATEWAY, target: '10.1.0.1' }))
    rig.inject('db/eth0', ping({ mac: DB, from: '10.1.0.3', to: GATEWAY, target: '10.1.0.1' }))
    expect(seen).toEqual([`web/eth0 in ${GATEWAY} 50`, `web/eth0 out ${WEB} 50`])
    stop()
    stop()
    rig.inject('web/eth0', ping({ ...FROM_WEB, to: GATEWAY, target: '10.1.0.1' }))
    expect(seen).toHaveLength(2)
    await rig.finish()
  })

  it('of all devices see those that come later, and can be several', async () => {
    const rig = await up(TWO)
    const counts = [0, 0]
    const stops = counts.map((_, i) => rig.controller.attachCapture('all', () => counts[i]!++))
    await rig.apply({ ...TWO, sandboxes: { ...TWO.sandboxes, late: { networks: ['back'] } } })
    const heard = [...counts]
    rig.inject('late/eth0', hex(`${BROADCAST} 02420a020003 88b5 0000`))
    expect(counts).toEqual(heard.map((count) => count + 2))
    stops[0]!()
    rig.inject('late/eth0', hex(`${BROADCAST} 02420a020003 88b5 0000`))
    expect(counts).toEqual([heard[0]! + 2, heard[1]! + 4])
    expect(() => rig.controller.attachCapture(['nosuch'], () => {})).toThrow(
      'no device "nosuch"; there are: web/eth0, db/eth0, far/eth0, late/eth0',
    )
    await rig.finish()
  })
})

describe('views', () => {
  it('are plain JSON', async () => {
    const rig = await up({ ...TWO, sandboxes: { ...TWO.sandboxes, n: { network_mode: 'none' } } })
    rig.inject('web/eth0', ping({ ...FROM_WEB, to: DB, target: '10.1.0.3' }))
    const c = rig.controller
    const views = [c.ls(), c.inspect(), c.fdb(), c.neigh(), c.routes(), c.stats(), c.drops()]
    for (const view of views) expect(JSON.parse(JSON.stringify(view))).toEqual(view)
    expect(c.ls()).toMatchSnapshot()
    expect(c.fdb('front').map(({ mac, port }) => `${mac} ${port}`)).toEqual([
      '02:42:0a:01:00:01 gateway',
      '02:42:0a:01:00:02 web/eth0',
      '02:42:0a:01:00:03 db/eth0',
    ])
    expect(c.stats().devices.find(({ device }) => device === 'db/eth0')).toMatchObject({
      kind: 'cable',
      network: 'front',
      sandbox: 'db',
      txPackets: 1,
      rxPackets: 0,
    })
    expect(c.stats().pool).toEqual({
      smallCount: 512,
      smallIdle: 512,
      largeCount: 16,
      largeIdle: 16,
    })
    await rig.finish()
  })

  it('of one thing are found by its name, or refused', async () => {
    const rig = await up(TWO)
    const { controller } = rig
    expect(controller.inspect('front').networks).toHaveLength(1)
    expect(controller.inspect('front').sandboxes).toHaveLength(0)
    expect(controller.inspect('web').sandboxes).toHaveLength(1)
    expect(controller.inspect('web/eth0').sandboxes[0]?.name).toBe('web')
    expect(controller.inspect('front').networks[0]?.ports.map(({ name }) => name)).toEqual([
      'gateway',
      'web/eth0',
      'db/eth0',
    ])
    expect(() => controller.inspect('nosuch')).toThrow(
      'no network, sandbox, service or device "nosuch"',
    )
    expect(() => controller.fdb('nosuch')).toThrow(
      'no network with a bridge "nosuch"; there are: front, back',
    )
    await rig.finish()
  })
})
