/** Driver `macvlan` on cables: what each mode lets pass, frame by frame. */
import { describe, expect, it } from 'vitest'
import { parseConfig } from '../../services/config/parse.ts'
import { hex, Rig } from './rig.ts'

const A = '0242 0a09000b'
const B = '0242 0a09000c'
const OUT = '0200 00000050'
const ALL = 'ffffffffffff'

/** A frame of an experimental type (IEEE 802 clause 9.2), which nothing but the bridge looks at. */
function frame(to: string, from: string, body = '01'): Buffer {
  return hex(`${to} ${from} 88b5 ${body.repeat(46)}`)
}

function file(mode: string, options = ''): string {
  const b = mode === 'passthru' ? '' : 'b: { networks: { lan: { ipv4_address: 10.9.0.12 } } }'
  return `
name: lab
networks:
  lan:
    driver: macvlan
    driver_opts: { parent: eth0, macvlan_mode: ${mode} ${options} }
    ipam: { config: [ { subnet: 10.9.0.0/24, gateway: 10.9.0.50 } ] }
sandboxes:
  a: { networks: { lan: { ipv4_address: 10.9.0.11 } } }
  ${b}
`
}

async function run(mode: string, test: (rig: Rig) => Promise<void> | void): Promise<void> {
  const rig = new Rig()
  await rig.apply(file(mode))
  rig.quiet()
  await test(rig)
  await rig.finish()
}

/** Where a frame sent in by one device comes out. */
function where(rig: Rig, from: string, sent: Buffer): string[] {
  rig.quiet()
  rig.inject(from, sent)
  return rig.devices().filter((device) => rig.received(device).includes(sent.toString('hex')))
}

const PARENT = 'lan@eth0'

describe('macvlan', () => {
  it('bridge: endpoints by the bridge, everything else by the parent', async () => {
    await run('bridge', (rig) => {
      expect(where(rig, 'a/eth0', frame(B, A))).toEqual(['b/eth0'])
      expect(where(rig, 'a/eth0', frame(ALL, A))).toEqual([PARENT, 'b/eth0'])
      expect(where(rig, 'a/eth0', frame(OUT, A)), 'nobody knows it yet').toEqual([PARENT])
      expect(where(rig, PARENT, frame(A, OUT))).toEqual(['a/eth0'])
      expect(where(rig, PARENT, frame(ALL, OUT))).toEqual(['a/eth0', 'b/eth0'])
      expect(where(rig, PARENT, frame(ALL, A)), 'its own, back').toEqual([])
    })
  })

  it('private: nothing between endpoints, not even by a switch that reflects', async () => {
    await run('private', (rig) => {
      expect(where(rig, 'a/eth0', frame(B, A))).toEqual([])
      expect(where(rig, 'a/eth0', frame(ALL, A))).toEqual([PARENT])
      expect(where(rig, PARENT, frame(B, A))).toEqual([])
      expect(where(rig, PARENT, frame(ALL, A))).toEqual([])
      expect(where(rig, PARENT, frame(B, OUT))).toEqual(['b/eth0'])
      expect(rig.controller.drops().map(({ reason }) => reason)).toContain('reflected')
    })
  })

  it('vepa: all by the parent, and back to others only', async () => {
    await run('vepa', (rig) => {
      expect(where(rig, 'a/eth0', frame(B, A))).toEqual([PARENT])
      expect(where(rig, 'a/eth0', frame(ALL, A))).toEqual([PARENT])
      expect(where(rig, PARENT, frame(B, A))).toEqual(['b/eth0'])
      expect(where(rig, PARENT, frame(ALL, A))).toEqual(['b/eth0'])
      expect(where(rig, PARENT, frame(ALL, OUT))).toEqual(['a/eth0', 'b/eth0'])
    })
  })

  it('passthru: one endpoint has all that the parent hears, under any MAC', async () => {
    await run('passthru', (rig) => {
      const other = '0200 00000077'
      expect(where(rig, 'a/eth0', frame(OUT, other))).toEqual([PARENT])
      expect(where(rig, PARENT, frame(other, OUT))).toEqual(['a/eth0'])
      expect(where(rig, PARENT, frame('0200 00000088', OUT))).toEqual(['a/eth0'])
    })
  })

  it('has no gateway of ours, and the route of the network outside', async () => {
    await run('bridge', (rig) => {
      const { routes, addresses } = rig.request('a/eth0')
      expect(routes.map(({ via }) => via.words[3])).toEqual([0x0a09_0032])
      expect(addresses[0]!.bits).toBe(24)
      expect(rig.controller.routes()).toEqual([])
      expect(rig.controller.inspect('lan').networks[0]).toMatchObject({
        gatewayMac: null,
        gateways: ['10.9.0.50'],
        parent: { interface: 'eth0', mode: 'bridge', state: 'up', lost: null },
      })
    })
  })

  it('tells the parent whose stations are there, and takes them back', async () => {
    const rig = new Rig()
    await rig.apply(file('bridge'))
    const macs = (): number[] => rig.stations.map(({ lo }) => lo & 0xff)
    expect(macs()).toEqual([11, 12])
    await rig.apply(file('bridge').replace(/^ {2}b: .*$/m, ''))
    expect(macs()).toEqual([11])
    rig.failing.add('attach b/eth0')
    await expect(rig.apply(file('bridge'))).rejects.toThrow('attach b/eth0 failed')
    expect(macs()).toEqual([11])
    await rig.finish()
  })

  it('leaves nothing where the parent cannot be had', async () => {
    const rig = new Rig()
    rig.failing.add(`borrow ${PARENT}`)
    await expect(rig.apply(file('bridge'))).rejects.toThrow(`borrow ${PARENT} failed`)
    rig.failing.clear()
    await expect(
      rig.apply(file('bridge', ', com.docker.network.driver.mtu: 9000')),
    ).rejects.toThrow('create-network lan: eth0 has an MTU of 1500, below 9000')
    await rig.apply(file('bridge'))
    await rig.finish()
  })

  it('goes on without a lost parent, and takes it back', async () => {
    const rig = new Rig()
    await rig.apply(file('bridge'))
    rig.failing.add(`borrow ${PARENT}`)
    rig.lose(PARENT)
    rig.pass(1)
    const parent = (): unknown => rig.controller.inspect('lan').networks[0]!.parent
    expect(parent()).toMatchObject({ state: 'lost', lost: 'its namespace is gone' })
    expect(where(rig, 'a/eth0', frame(B, A))).toEqual(['b/eth0'])
    rig.pass(5000)
    expect(parent()).toMatchObject({ state: 'lost', lost: `borrow ${PARENT} failed` })
    rig.failing.clear()
    rig.pass(1500)
    expect(parent()).toMatchObject({ state: 'up', lost: null })
    expect(rig.stations).toHaveLength(2)
    expect(where(rig, 'a/eth0', frame(OUT, A))).toEqual([PARENT])
    expect(rig.controller.stats().lostDevices).toBe(1)
    rig.lose(PARENT)
    await rig.finish()
  })

  it('ends at the node without a parent', async () => {
    const rig = new Rig()
    await rig.apply(file('vepa').replace('parent: eth0, ', ''))
    expect(rig.devices()).toEqual(['a/eth0', 'b/eth0'])
    expect(rig.controller.inspect('lan').networks[0]!.parent).toBeNull()
    await rig.finish()
  })
})

describe('macvlan in a file', () => {
  const faults = (text: string): string[] =>
    parseConfig(text, 'f.yaml').faults.map(({ line, message }) => `${line}: ${message}`)

  it.each([
    ['parent: lo', 5, '"lo" is not an interface: a name such as "eth0"'],
    ['parent: "a/b"', 5, '"a/b" is not an interface'],
    ['parent: eth0, macvlan_mode: open', 5, 'expected bridge, private, vepa, passthru, got "open"'],
    ['tapline.host_access: true', 5, '"tapline.host_access" has no effect without "parent"'],
    [
      'parent: eth0, macvlan_mode: vepa, tapline.host_access: true',
      5,
      'mode "vepa" sends everything to the parent: the host is not reached',
    ],
    ['parent: eth0, tapline.vlan_filtering: true', 5, 'is one VLAN: name it by the parent'],
    [
      'parent: eth0, com.docker.network.bridge.enable_icc: "false"',
      5,
      '"com.docker.network.bridge.enable_icc" has no effect with driver "macvlan"',
    ],
    ['parnt: eth0', 5, 'unknown key "parnt"'],
  ])('%s', (options, line, message) => {
    const head = 'name: lab\nnetworks:\n  lan:\n    driver: macvlan\n'
    const text = `${head}    driver_opts: { ${options} }\n`
    expect(faults(text)).toEqual([expect.stringContaining(`${line}: `)])
    expect(faults(text)[0]).toContain(message)
  })

  it('has one network a parent, and one endpoint where the mode is passthru', () => {
    const network = '{ driver: macvlan, driver_opts: { parent: eth0.10, macvlan_mode: passthru } }'
    const text = `name: lab
networks:
  one: ${network}
  two: ${network}
sandboxes:
  a: { networks: [ one ] }
  b: { networks: [ one ] }
`
    expect(faults(text)).toEqual([
      '4: "eth0.10" is the parent of network "one" already',
      '7: in mode "passthru" one endpoint has the parent, and this is a second',
    ])
  })

  it('publishes nothing and has no service: there is no gateway to do it', () => {
    const text = `name: lab
networks:
  lan: { driver: macvlan, driver_opts: { parent: eth0 } }
sandboxes:
  a: { networks: [ lan ], ports: [ "80:80" ] }
`
    expect(faults(text)).toHaveLength(1)
  })
})
