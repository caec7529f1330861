/** Services over sandboxes in memory: who is asked, who answers, who is out, and who stays. */
import { expect, it } from 'vitest'
import { Balancer } from '../../services/balancer/balancer.ts'
import type { HealthcheckConfig } from '../../services/config/model.ts'
import { createFabric, type Fabric, type Sandbox } from '../../services/fabric/library.ts'
import type { Log } from '../../services/log.ts'
import { parsePort } from '../../services/ports.ts'
import type { ServiceState } from '../../services/state.ts'
import { parseAddress } from '../../stack/address.ts'

const VIPS = ['10.2.0.200', 'fd00:2::200'] as const
const HOSTS = ['b0', 'b1', 'b2', 'b3'] as const

const DNS: HealthcheckConfig = {
  type: 'dns',
  port: 53,
  path: '/',
  intervalMs: 2000,
  timeoutMs: 500,
  retries: 3,
  rise: 1,
  slowStartMs: 0,
}

class Lab {
  readonly fabric: Fabric
  readonly logged: string[]
  balancer!: Balancer

  constructor(fabric: Fabric, logged: string[]) {
    this.fabric = fabric
    this.logged = logged
  }

  static async open(fields: Partial<ServiceState> = {}): Promise<Lab> {
    const logged: string[] = []
    const say = (_: object, message: string): void => {
      logged.push(message)
    }
    const log: Log = { info: say, warn: say, error: say }
    const fabric = await createFabric({ seed: 5, checked: true, log })
    await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
    await fabric.network('back', { subnets: ['10.2.0.0/24', 'fd00:2::/64'] })
    await fabric.sandbox('client', { networks: ['front'] })
    for (const [i, name] of HOSTS.entries()) {
      const back = { ipv4: `10.2.0.1${i}`, ipv6: `fd00:2::1${i}` }
      await fabric.sandbox(name, { networks: { back } })
    }
    logged.length = 0
    const lab = new Lab(fabric, logged)
    const { node } = fabric.controller
    const back = node.network('back')!
    for (const vip of VIPS) back.addAddress(parseAddress(vip))
    lab.balancer = lab.make(fields)
    return lab
  }

  make(fields: Partial<ServiceState> = {}): Balancer {
    const { context } = this.fabric.controller.node
    return new Balancer({ context, ...NOWHERE }, stateOf(fields))
  }

  /** Serve on port 53 of a backend: tells its name and who asked; answers checks alike. */
  serve(name: string): () => void {
    const socket = this.fabric.get(name).udp(53)
    socket.onMessage((message) => {
      const { data } = message
      if (data.length === 17)
        message.reply(Uint8Array.of(data[0]!, data[1]!, 0x80, ...data.slice(3)))
      else if (data.length > 0) message.reply(`${name} ${message.address}`)
    })
    return () => socket.close()
  }

  serveAll(): (() => void)[] {
    return HOSTS.map((name) => this.serve(name))
  }

  /** Who answers a new connection, or `none`. */
  async ask(to: string = VIPS[0], from = 'client'): Promise<string> {
    const connection = new Connection(this.fabric.get(from), to)
    const [name] = (await connection.ask()).split(' ')
    connection.close()
    return name!
  }

  async askAll(times: number, to: string = VIPS[0]): Promise<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (let i = 0; i < times; i++) {
      const name = await this.ask(to)
      counts[name] = (counts[name] ?? 0) + 1
    }
    return counts
  }

  states(): string[] {
    return this.balancer.stats().map(({ state }) => state)
  }

  async end(): Promise<void> {
    this.balancer.close()
    expect(this.fabric.controller.node.context.conntrack.count).toBe(0)
    for (const vip of VIPS) {
      this.fabric.controller.node.network('back')!.removeAddress(parseAddress(vip))
    }
    await this.fabric.close()
  }
}

/** One port of a client, towards the service. */
class Connection {
  readonly #socket
  readonly #to: string

  constructor(client: Sandbox, to: string) {
    this.#socket = client.udp()
    this.#to = to
  }

  async ask(): Promise<string> {
    this.#socket.send('who', this.#to, 53)
    try {
      return (await this.#socket.receive({ timeoutMs: 100 })).text
    } catch {
      return 'none'
    }
  }

  close(): void {
    this.#socket.close()
  }
}

/** No namespaces, and no host. */
const NOWHERE = { netnsOf: () => undefined, standIn: () => undefined }

function stateOf(fields: Partial<ServiceState> = {}): ServiceState {
  return {
    name: 'names',
    network: 'back',
    vips: VIPS.map(parseAddress),
    mode: 'vip',
    ports: [{ target: 53, count: 1, published: undefined, protocol: 17 }],
    aliases: [],
    answers: 'ready',
    scheduler: 'rr',
    backends: backendsOf([1, 1, 1, 1]),
    healthcheck: undefined,
    affinityMs: 0,
    ...fields,
  }
}

function backendsOf(weights: readonly number[]): ServiceState['backends'] {
  return weights.map((weight, i) => ({
    sandbox: HOSTS[i]!,
    weight,
    addresses: [`10.2.0.1${i}`, `fd00:2::1${i}`].map(parseAddress),
  }))
}

it('spreads connections of both families, and keeps the address of the client', async () => {
  const lab = await Lab.open()
  lab.serveAll()
  for (const vip of VIPS) {
    expect(await lab.askAll(8, vip)).toEqual({ b0: 2, b1: 2, b2: 2, b3: 2 })
    const connection = new Connection(lab.fabric.get('client'), vip)
    const [, address] = (await connection.ask()).split(' ')
    const client = lab.fabric.get('client')
    expect(address).toBe(vip.includes(':') ? client.ipv6() : client.ipv4())
    connection.close()
  }
  expect(lab.states()).toEqual(['unchecked', 'unchecked', 'unchecked', 'unchecked'])
  expect(lab.balancer.totals()).toEqual({ flows: 18, refused: 0, clients: 0 })
  const totals = lab.balancer.stats().map(({ total }) => total)
  expect(totals.reduce((a, b) => a + b)).toBe(18)
  await lab.end()
})

it('leads a backend that calls its own service to the others and to itself', async () => {
  const lab = await Lab.open()
  lab.serveAll()
  const names = new Set<string>()
  for (let i = 0; i < 8; i++) names.add(await lab.ask(VIPS[0], 'b1'))
  expect(names).toEqual(new Set(HOSTS))
  await lab.end()
})

it('checks before anybody is asked, and finds a death within interval x retries', async () => {
  const lab = await Lab.open({ healthcheck: DNS })
  const stop = lab.serveAll()
  expect(await lab.ask(), 'nobody was checked yet').toBe('none')
  expect(lab.balancer.totals().refused).toBe(1)
  expect(lab.states()).toEqual(['up', 'up', 'up', 'up'])
  expect(lab.logged.filter((line) => line.endsWith('is up')).length).toBe(8)
  await lab.fabric.advance(5000)
  lab.logged.length = 0
  stop[2]!()
  await lab.fabric.advance(6001)
  expect(lab.states()).toEqual(['up', 'up', 'down', 'up'])
  expect(lab.logged.sort()).toEqual([
    'service names: b2 (10.2.0.12) is down: refused',
    'service names: b2 (fd00:2::12) is down: refused',
  ])
  expect(await lab.askAll(9)).toEqual({ b0: 3, b1: 3, b3: 3 })
  lab.serve('b2')
  await lab.fabric.advance(2001)
  expect(lab.states()).toEqual(['up', 'up', 'up', 'up'])
  expect((await lab.askAll(8))['b2']).toBe(2)
  await lab.end()
})

it.each(['icmp', 'udp'] as const)('%s: silence of a station is a death', async (type) => {
  const lab = await Lab.open({ healthcheck: { ...DNS, type } })
  lab.serveAll()
  await lab.fabric.advance(5000)
  expect(lab.states()).toEqual(['up', 'up', 'up', 'up'])
  lab.fabric.link('b1', 'back').faults({ lossPct: 100 })
  await lab.fabric.advance(6001)
  expect(lab.states()).toEqual(['up', 'down', 'up', 'up'])
  expect(lab.balancer.stats()[1]!.checks).toEqual([
    'IPv4: no answer in 500 ms',
    'IPv6: no answer in 500 ms',
  ])
  await lab.end()
})

it('udp: a closed port is a death; tcp: one that nothing speaks', async () => {
  const lab = await Lab.open({ healthcheck: { ...DNS, type: 'udp' } })
  lab.serve('b0')
  await lab.fabric.advance(1000)
  expect(lab.states()).toEqual(['up', 'down', 'down', 'down'])
  lab.balancer.update(stateOf({ healthcheck: { ...DNS, type: 'tcp' } }))
  expect(lab.states(), 'until the new check says otherwise').toEqual(['up', 'down', 'down', 'down'])
  await lab.fabric.advance(1000)
  expect(lab.states()).toEqual(['down', 'down', 'down', 'down'])
  expect(await lab.ask()).toBe('none')
  lab.balancer.update(stateOf())
  expect(lab.states()).toEqual(['unchecked', 'unchecked', 'unchecked', 'unchecked'])
  await lab.end()
})

it.each(['maglev', 'rr', 'least_conn'] as const)(
  '%s: draining and removing disturb nobody else',
  async (scheduler) => {
    const lab = await Lab.open({ scheduler })
    lab.serveAll()
    const client = lab.fabric.get('client')
    const all = Array.from({ length: 40 }, (_, i) => new Connection(client, VIPS[i % 2]!))
    const names = async (): Promise<string[]> => {
      const answers = []
      for (const connection of all) answers.push((await connection.ask()).split(' ')[0]!)
      return answers
    }
    const before = await names()
    expect(new Set(before)).toEqual(new Set(HOSTS))
    lab.balancer.update(stateOf({ scheduler, backends: backendsOf([1, 0, 1, 1]) }))
    expect(lab.states()[1]).toBe('draining')
    expect(await names(), 'what drains keeps its own').toEqual(before)
    expect(await lab.askAll(30)).not.toHaveProperty('b1')
    lab.balancer.update(stateOf({ scheduler, backends: backendsOf([1, 1, 1, 1]).slice(0, 3) }))
    const after = await names()
    for (const [i, name] of before.entries()) {
      if (name !== 'b3') expect(after[i]).toBe(name)
      else expect(['b0', 'b1', 'b2']).toContain(after[i])
    }
    for (const connection of all) connection.close()
    await lab.end()
  },
)

it('keeps a client at its backend by affinity', async () => {
  const lab = await Lab.open({ affinityMs: 60_000 })
  lab.serveAll()
  const [name] = Object.keys(await lab.askAll(10))
  expect(await lab.askAll(5)).toEqual({ [name!]: 5 })
  expect(lab.balancer.totals().clients).toBe(1)
  await lab.end()
})

it('changes its addresses and ports, and publishes', async () => {
  const lab = await Lab.open()
  lab.serveAll()
  const published = (text: string): ServiceState['ports'] => [
    { target: 53, count: 1, published: parsePort(text), protocol: 17 },
  ]
  const ports = published('5353:53/udp')
  lab.balancer.update(stateOf({ vips: [parseAddress(VIPS[0])], ports }))
  expect(await lab.ask(VIPS[1])).toBe('none')
  expect(HOSTS).toContain(await lab.ask(VIPS[0]))
  lab.balancer.update(stateOf({ ports }))
  const socket = lab.fabric.get('client').udp()
  for (const address of ['10.1.0.1', 'fd00:1::1']) {
    socket.send('who', address, 5353)
    const { text, address: from, port } = await socket.receive()
    expect(HOSTS).toContain(text.split(' ')[0])
    expect([from, port]).toEqual([address, 5353])
  }
  lab.balancer.update(stateOf())
  lab.balancer.update(stateOf({ ports: published('10.1.0.1:5353:53/udp') }))
  for (const address of ['10.2.0.1', 'fd00:1::1']) {
    socket.send('who', address, 5353)
    await expect(socket.receive({ timeoutMs: 500 })).rejects.toThrow()
  }
  socket.send('who', '10.1.0.1', 5353)
  expect(HOSTS).toContain((await socket.receive()).text.split(' ')[0])
  socket.close()
  await lab.end()
})

it('refuses what cannot be, and changes nothing then', async () => {
  const lab = await Lab.open()
  lab.serveAll()
  const ports = [53, 54].map(
    (target) => ({ target, count: 1, published: undefined, protocol: 17 }) as const,
  )
  expect(() => lab.make({ ports })).toThrow('port 53/udp of 10.2.0.200 is taken')
  const other = lab.make({ ports: [ports[1]!] })
  expect(() => lab.balancer.update(stateOf({ ports }))).toThrow(
    'port 54/udp of 10.2.0.200 is taken',
  )
  other.close()
  const http = { healthcheck: { ...DNS, type: 'http' } as const }
  expect(() => lab.balancer.update(stateOf(http))).toThrow('type http needs sandboxes that are')
  expect(await lab.askAll(4)).toEqual({ b0: 1, b1: 1, b2: 1, b3: 1 })
  await lab.end()
})
