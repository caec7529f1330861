/** The controller on cables: what it makes, leaves alone, takes back, and survives. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { config } from './generate.ts'
import { Rig } from './rig.ts'

const SHOP = {
  name: 'shop',
  networks: {
    front: { ipam: { config: [{ subnet: '10.1.0.0/24' }] } },
    back: { ipam: { config: [{ subnet: '10.2.0.0/24' }] } },
  },
  sandboxes: {
    web: { networks: ['front', 'back'] },
    db: { networks: ['back'] },
  },
}

function withSandboxes(sandboxes: object): object {
  return { ...SHOP, sandboxes }
}

/** A full garbage collection, so that what is left is in use. */
setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

describe('applying', () => {
  it('makes sandboxes with interfaces as they must look from inside', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    expect(rig.calls.filter((call) => !call.startsWith('prepare'))).toEqual([
      'attach web/eth0',
      'attach web/eth1',
      'attach db/eth0',
    ])
    expect(rig.request('web/eth1')).toMatchObject({
      sandbox: 'web',
      netns: 'web',
      interfaceName: 'eth1',
      mac: { hi: 0x0242, lo: 0x0a020002 },
      mtuBytes: 1500,
      routes: [],
      offload: true,
    })
    expect(rig.request('web/eth0').routes).toHaveLength(1)
    expect(rig.controller.name).toBe('shop')
    await rig.finish()
    expect(rig.calls).toContain('release web')
  })

  it('the same again does nothing', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    const device = rig.device('web/eth0')
    const before = [...rig.calls]
    const report = await rig.controller.apply(config(SHOP))
    expect(report).toMatchObject({ steps: [], unchanged: 7 })
    expect(rig.calls).toEqual(before)
    expect(rig.device('web/eth0')).toBe(device)
    await rig.finish()
  })

  it('a change touches only what it is about', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    rig.calls.length = 0
    const next = withSandboxes({ web: SHOP.sandboxes.web, api: { networks: ['back'] } })
    expect(await rig.apply(next)).toEqual([
      'leave db/back',
      'delete-sandbox db',
      'create-sandbox api',
      'join api/back',
    ])
    expect(rig.calls.filter((call) => !call.startsWith('prepare'))).toEqual([
      'detach db/eth0',
      'release db',
      'attach api/eth0',
    ])
    await rig.finish()
  })

  it('shows what it would do, and does it not', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    const steps = rig.controller.preview(config(withSandboxes({})))
    expect(steps.map(({ action }) => action)).toEqual([
      'leave',
      'leave',
      'leave',
      'delete-sandbox',
      'delete-sandbox',
    ])
    expect(rig.devices()).toHaveLength(3)
    await rig.finish()
  })

  it('names only does not touch the interface, and the new names are shown', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    const web = { networks: { front: { aliases: ['www'] }, back: {} } }
    expect(await rig.apply(withSandboxes({ ...SHOP.sandboxes, web }))).toEqual(['update web/front'])
    expect(rig.controller.inspect('web').sandboxes[0]?.endpoints[0]?.aliases).toEqual(['www'])
    await rig.finish()
  })

  it('calls one after the other, in the order they came', async () => {
    const rig = new Rig()
    const all = [SHOP, withSandboxes({}), SHOP].map((file) => rig.apply(file))
    const steps = await Promise.all(all)
    expect(steps.map((list) => list.length)).toEqual([7, 5, 5])
    await rig.finish()
  })

  it('gives the event loop its turn between sandboxes', async () => {
    const rig = new Rig()
    const turns: number[] = []
    let open = true
    const turn = (): void => {
      turns.push(rig.calls.length)
      if (open) setImmediate(turn)
    }
    setImmediate(turn)
    await rig.apply(SHOP)
    open = false
    expect(turns.some((calls) => calls > 0 && calls < rig.calls.length)).toBe(true)
    await rig.finish()
  })

  it('gives the event loop its turn between routes, of which there may be thousands', async () => {
    const rig = new Rig()
    const counts = new Set<number>()
    let open = true
    const turn = (): void => {
      counts.add(rig.controller.routes().length)
      if (open) setImmediate(turn)
    }
    setImmediate(turn)
    const routes = Array.from({ length: 5000 }, (_, i) => ({
      to: `10.${100 + (i >> 8)}.${i & 255}.0/24`,
      blackhole: true,
    }))
    await rig.apply({ ...SHOP, routes })
    open = false
    const all = rig.controller.routes().length
    expect([...counts].filter((count) => count > 10 && count < all)).not.toEqual([])
    await rig.finish()
  })

  it('ten thousand times over grows nothing', async () => {
    const rig = new Rig()
    const [one, two] = [config(SHOP), config(withSandboxes({ web: { networks: ['front'] } }))]
    const cycle = async (count: number): Promise<number> => {
      for (let i = 0; i < count; i++) await rig.controller.apply(i % 25 === 0 ? two : one)
      rig.calls.length = 0
      collect()
      return process.memoryUsage().heapUsed
    }
    const before = await cycle(2_000)
    const after = await cycle(8_000)
    expect(after - before).toBeLessThan(2e6)
    expect(rig.controller.stats().devices.length).toBe(3)
    await rig.finish()
  }, 60_000)
})

describe('failing', () => {
  it('in planning changes nothing', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    const before = [...rig.calls]
    const small = { front: { ipam: { config: [{ subnet: '10.9.0.0/30' }] } }, back: {} }
    const two = { a: { networks: ['front'] }, b: { networks: ['front'] } }
    await expect(rig.apply({ ...SHOP, networks: small, sandboxes: two })).rejects.toMatchObject({
      code: 'exhausted',
    })
    expect(rig.calls).toEqual(before)
    await rig.finish()
  })

  it('in a step goes back to what was before', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    const before = rig.controller.ls()
    rig.failing.add('attach new/eth0')
    const next = withSandboxes({ web: SHOP.sandboxes.web, new: { networks: ['front', 'back'] } })
    await expect(rig.apply(next)).rejects.toThrow('join new/front: attach new/eth0 failed')
    expect(rig.controller.ls()).toEqual(before)
    expect(rig.devices().sort()).toEqual(['db/eth0', 'web/eth0', 'web/eth1'])
    rig.failing.clear()
    expect(await rig.apply(next)).toContain('join new/front')
    await rig.finish()
  })

  it('at the first file leaves nothing', async () => {
    const rig = new Rig()
    rig.failing.add('attach db/eth0')
    await expect(rig.apply(SHOP)).rejects.toThrow(/db\/eth0 failed/)
    expect(rig.devices()).toEqual([])
    expect(rig.controller.ls()).toEqual({
      name: '',
      networks: [],
      sandboxes: [],
      services: [],
      ports: [],
      uplink: null,
    })
    rig.balance()
    await rig.finish()
  })

  it('to go back as well is told with both causes, and the state is what is there', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    rig.failing.add('attach new/eth0').add('attach db/eth0')
    const next = withSandboxes({ web: SHOP.sandboxes.web, new: { networks: ['front'] } })
    const error: AggregateError = await rig.apply(next).then(
      () => expect.unreachable(),
      (reason) => reason,
    )
    expect(error.errors.map(String)).toEqual([
      'StackError: join new/front: attach new/eth0 failed',
      'StackError: join db/back: attach db/eth0 failed',
    ])
    expect(rig.devices()).toEqual(['web/eth0', 'web/eth1'])
    expect(rig.controller.inspect('db').sandboxes[0]?.endpoints[0]).toMatchObject({
      state: 'lost',
      lost: 'attach db/eth0 failed',
    })
    rig.failing.clear()
    expect(await rig.apply(SHOP)).toEqual(['leave db/back', 'join db/back'])
    await rig.finish()
  })
})

describe('stopping', () => {
  it('in the middle leaves what is done, and close takes it away', async () => {
    const rig = new Rig()
    const stop = new AbortController()
    rig.onCall = (call) => {
      if (call === 'attach web/eth1') stop.abort(new Error('SIGTERM'))
    }
    await expect(rig.apply(SHOP, stop.signal)).rejects.toThrow('SIGTERM')
    expect(rig.devices()).toEqual(['web/eth0', 'web/eth1'])
    await rig.finish()
  })

  it('before the start does nothing', async () => {
    const rig = new Rig()
    await expect(rig.apply(SHOP, AbortSignal.abort(new Error('no')))).rejects.toThrow('no')
    expect(rig.calls).toEqual([])
    await rig.finish()
  })

  it('by close stops an apply on its way, and what comes later', async () => {
    const rig = new Rig()
    let closed: Promise<void> | undefined
    rig.onCall = (call) => {
      if (call === 'attach web/eth0') closed ??= rig.controller.close()
    }
    await expect(rig.apply(SHOP)).rejects.toThrow('the node is closing')
    await closed
    await expect(rig.apply(SHOP)).rejects.toThrow('the node is closing')
    await rig.finish()
  })

  it('tries everything, and tells all that failed', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    rig.failing.add('detach web/eth1').add('release db')
    const error: AggregateError = await rig.controller.close().then(
      () => expect.unreachable(),
      (reason) => reason,
    )
    expect(error.errors.map(String)).toEqual([
      'StackError: leave web/back: detach web/eth1 failed',
      'StackError: delete-sandbox db: release db failed',
    ])
    rig.balance()
    expect(rig.calls.at(-1)).toBe('close')
  })

  it('twice is once', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    await Promise.all([rig.controller.close(), rig.controller.close()])
    await rig.finish()
  })
})

describe('a device lost from outside', () => {
  it('is said and counted, its port is gone, and apply joins it again', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    const request = rig.request('db/eth0')
    rig.lose('db/eth0')
    rig.lose('db/eth0')
    expect(rig.logged).toEqual(['lost db/eth0: its namespace is gone'])
    expect(rig.controller.stats()).toMatchObject({ lostDevices: 1 })
    expect(rig.controller.inspect('db').sandboxes[0]?.endpoints[0]).toMatchObject({
      state: 'lost',
      lost: 'its namespace is gone',
    })
    expect(rig.controller.fdb('back').map(({ port }) => port)).not.toContain('db/eth0')
    expect(rig.devices()).toContain('db/eth0')
    rig.pass(1)
    expect(rig.devices()).not.toContain('db/eth0')
    rig.calls.length = 0
    expect(await rig.apply(SHOP)).toEqual(['leave db/back', 'join db/back'])
    expect(rig.calls).toEqual(['prepare db', 'attach db/eth0'])
    expect(rig.request('db/eth0')).toEqual(request)
    expect(rig.controller.inspect('db').sandboxes[0]?.endpoints[0]?.state).toBe('up')
    await rig.finish()
  })

  it('may be joined again before it is given back', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    rig.lose('db/eth0')
    expect(await rig.apply(SHOP)).toEqual(['leave db/back', 'join db/back'])
    rig.pass(1)
    expect(rig.devices()).toHaveLength(3)
    await rig.finish()
  })

  it.each([0, 1])('may be closed %i ms later', async (ms) => {
    const rig = new Rig()
    await rig.apply(SHOP)
    rig.lose('web/eth0')
    rig.pass(ms)
    await rig.finish()
  })

  it('that cannot be given back is said', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    rig.failing.add('detach db/eth0')
    rig.lose('db/eth0')
    rig.pass(1)
    expect(rig.logged.at(-1)).toBe('a lost device was not given back')
    rig.failing.clear()
    await rig.finish()
  })

  it('and not to be had again stays lost when an apply fails by it', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    rig.lose('db/eth0')
    rig.pass(1)
    rig.failing.add('attach db/eth0')
    await expect(rig.apply(SHOP)).rejects.toThrow('join db/back: attach db/eth0 failed')
    expect(rig.controller.ls().sandboxes.map(({ name }) => name)).toEqual(['web', 'db'])
    rig.failing.clear()
    expect(await rig.apply(SHOP)).toEqual(['leave db/back', 'join db/back'])
    await rig.finish()
  })

  it('keeps its addresses and MAC when an apply fails by another that was lost', async () => {
    const rig = new Rig()
    const three = { f1: {}, f2: {}, f3: {}, f4: {} }
    const fabric = (names: object): object => {
      const on = Object.keys(names).map((name) => [name, { networks: ['front'] }])
      return { ...SHOP, sandboxes: Object.fromEntries(on) }
    }
    const row = (name: string) => rig.controller.inspect(name).sandboxes[0]?.endpoints[0]
    await rig.apply(fabric(three))
    const before = ['f1', 'f3', 'f4'].map(row)
    for (const name of ['f1', 'f3', 'f4']) rig.lose(`${name}/eth0`)
    rig.pass(1)
    rig.failing.add('attach f1/eth0').add('attach f3/eth0')
    await expect(rig.apply(fabric(three))).rejects.toThrow('join f1/front: attach f1/eth0 failed')
    const why = (name: string) => ({ state: 'lost', lost: `attach ${name}/eth0 failed` })
    const kept = [why('f1'), why('f3'), {}]
    expect(['f1', 'f3', 'f4'].map(row)).toEqual(before.map((was, i) => ({ ...was, ...kept[i] })))
    expect(rig.controller.ls().networks.find(({ name }) => name === 'front')?.endpoints).toBe(4)
    rig.failing.delete('attach f3/eth0')
    const steps = await rig.apply(fabric({ f2: {}, f3: {}, f4: {} }))
    expect(steps).toEqual([
      'leave f3/front',
      'leave f1/front',
      'delete-sandbox f1',
      'join f3/front',
    ])
    expect(row('f3')).toEqual(before[1])
    await rig.finish()
  })

  it('leaves with its sandbox when an apply could not join it again', async () => {
    const rig = new Rig()
    await rig.apply(SHOP)
    rig.lose('db/eth0')
    rig.failing.add('attach db/eth0')
    await expect(rig.apply(SHOP)).rejects.toThrow('attach db/eth0 failed')
    await expect(rig.apply(SHOP)).rejects.toThrow('attach db/eth0 failed')
    expect(await rig.apply(withSandboxes({ web: SHOP.sandboxes.web }))).toEqual([
      'leave db/back',
      'delete-sandbox db',
    ])
    await rig.finish()
  })
})

it('a station is forgotten, and a queue as long, as the network says', async () => {
  const rig = new Rig()
  const options = {
    'tapline.mac_guard': 'false',
    'tapline.fdb_ageing': 60,
    'tapline.txqueuelen': 77,
  }
  await rig.apply({
    name: 't',
    networks: { lan: { driver_opts: options } },
    sandboxes: { a: { networks: ['lan'] } },
  })
  expect(rig.request('a/eth0').txQueueLen).toBe(77)
  const frame = Buffer.from(`ffffffffffff02090909090988b5${'00'.repeat(46)}`, 'hex')
  rig.inject('a/eth0', frame)
  const known = (): boolean => rig.controller.fdb().some(({ mac }) => mac === '02:09:09:09:09:09')
  rig.pass(59_000)
  expect(known()).toBe(true)
  rig.pass(2000)
  expect(known()).toBe(false)
  await rig.finish()
})

it('an endpoint whose port the loop guard has shut is not up', async () => {
  const rig = new Rig()
  await rig.apply({
    name: 't',
    networks: { lan: { driver_opts: { 'tapline.mac_guard': 'false' } } },
    sandboxes: { a: { networks: ['lan'] }, b: { networks: ['lan'] } },
  })
  const states = (): string[] =>
    rig.controller.ls().sandboxes.flatMap(({ endpoints }) => endpoints.map(({ state }) => state))
  const frame = Buffer.alloc(60)
  frame.write('ffffffffffff020909090909 88b5'.replace(' ', ''), 'hex')
  for (let i = 0; i < 14; i++) rig.inject(i % 2 === 0 ? 'a/eth0' : 'b/eth0', frame)
  expect(states()).toEqual(['up', 'shut'])
  rig.pass(31_000)
  expect(states()).toEqual(['up', 'up'])
  await rig.finish()
})

describe('drivers without a data path', () => {
  it('make nothing but the sandbox, or not even that', async () => {
    const rig = new Rig()
    await rig.apply({
      name: 't',
      networks: { quiet: { driver: 'null' } },
      sandboxes: {
        side: { network_mode: 'container:bare' },
        bare: { network_mode: 'none' },
        dark: { networks: ['quiet'] },
        mon: { network_mode: 'host' },
        empty: {},
      },
    })
    expect(new Set(rig.calls)).toEqual(new Set(['prepare bare', 'prepare dark', 'prepare empty']))
    const { sandboxes } = rig.controller.ls()
    expect(sandboxes.map(({ name, stack, netns }) => `${name} ${stack} ${netns}`)).toEqual([
      'bare own bare',
      'dark own dark',
      'mon host ',
      'empty own empty',
      'side shared bare',
    ])
    rig.calls.length = 0
    await rig.finish()
    expect(rig.calls.sort()).toEqual(['close', 'release bare', 'release dark', 'release empty'])
  })
})
