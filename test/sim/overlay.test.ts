/**
 * Overlay networks in the ledger: whatever wires and sandboxes do, at every node frames in are
 * frames out, dropped with a reason or held, nothing is left in the end, and with all faults gone
 * everybody reaches everybody. `SIM_SEEDS=n` runs so many seeds, `SIM_SEED=n` one of them.
 */
import { expect, it } from 'vitest'
import { StackError } from '../../stack/errors.ts'
import type { WireFaults } from '../../stack/udp/memory_net.ts'
import { packetOf } from '../conformance/device.ts'
import { corpus, type Frame } from '../fuzz/corpus.ts'
import { mutate } from '../fuzz/mutate.ts'
import { macOf, type Place } from '../overlay/lab.ts'
import { drawFaults, PORT, pattern } from './acts.ts'
import { OverlaySim } from './overlay_lab.ts'
import { PATIENCE_MS } from './seeds.ts'

const { CI, SIM_SEEDS, SIM_SEED } = process.env
const COUNT = Number(SIM_SEEDS ?? (CI === 'true' ? 150 : 30))
const SETTLE_MS = 400_000
const PING_MS = 12_000
const TRIES = 4

interface Tally {
  messages: number
  pings: number
  reasons: Map<string, number>
}

/** One for all seeds: it takes longer than a simulation. */
let frames: readonly Frame[] | undefined

function allFrames(sim: OverlaySim): readonly Frame[] {
  const [a, b] = [sim.places[0]!, sim.places[2]!]
  frames ??= corpus({
    mac: macOf(a),
    ip4: a.ipv4,
    ip6: a.ipv6!,
    peerMac: macOf(b),
    peerIp4: b.ipv4,
    peerIp6: b.ipv6!,
    gatewayMac: '02:56:58:00:13:89',
    gatewayIp4: '10.2.0.1',
    gatewayIp6: 'fd00:2::1',
    farIp4: '10.2.1.12',
    farIp6: 'fd00:2::12',
  })
  return frames
}

function throwFrames(sim: OverlaySim): void {
  const { random } = sim
  const place = sim.one(sim.places)
  const cable = sim.cable(place)
  const { pool } = sim.nodes[place.node - 1]!.ledger
  const all = allFrames(sim)
  const count = 1 + random.below(30)
  sim.acts.push(`${count} frames into ${place.name}`)
  for (let i = 0; i < count && cable !== undefined; i++) {
    const sound = sim.one(all)
    const frame = random.chance(50) ? sound : mutate(random, sound, sim.one(all))
    const packet = packetOf(pool, frame)
    if (packet === undefined) return
    cable.b.transmit(packet)
  }
}

function datagrams(sim: OverlaySim): void {
  const { random } = sim
  const count = 1 + random.below(15)
  sim.acts.push(`${count} datagrams`)
  for (let i = 0; i < count; i++) {
    const [from, to] = [sim.one(sim.places), sim.one(sim.places)]
    const socket = sim.host(from)?.udp()
    const bytes = sim.one([8, 1300, 1422, 1472, 4000, 20_000])
    const group = random.chance(20) ? sim.one(['239.1.2.3', '224.0.0.9']) : undefined
    const address = group ?? (random.chance(50) ? to.ipv4 : to.ipv6!)
    const cut = random.chance(30) ? { segmentBytes: 300 + random.below(1100) } : {}
    try {
      socket?.send(pattern(bytes, random.chance(30)), address, PORT, cut)
    } catch (error) {
      // A host may have no way there, and pools are small on purpose.
      if (!(error instanceof StackError)) throw error
    }
    socket?.close()
  }
}

function injectFaults(sim: OverlaySim): void {
  const { random } = sim
  const faults: WireFaults = {
    ...drawFaults(random, sim.corrupting),
    mtuBytes: random.chance(40) ? 1300 + random.below(200) : 1500,
  }
  const [a, b] = [sim.one(sim.nodes).number, sim.one(sim.nodes).number]
  sim.acts.push(`faults between ${a} and ${b}: ${JSON.stringify(faults)}`)
  if (a === b) sim.net.setFaults(faults)
  else sim.net.setFaultsBetween(sim.address(a), sim.address(b), faults)
}

/** A sandbox moves, as nodes hear one after the other; or a node loses its network for a while. */
async function change(sim: OverlaySim): Promise<void> {
  const { random, driver } = sim
  const moving = sim.one(sim.places)
  const node = sim.one(sim.nodes)
  if (random.chance(30)) {
    sim.acts.push(`node ${node.number} without its network`)
    await sim.empty(node)
    datagrams(sim)
    driver.pass(random.below(5000))
  } else {
    sim.acts.push(`${moving.name} to node ${node.number}`)
    sim.places = sim.places.map((p) => (p === moving ? { ...p, node: node.number } : p))
  }
  for (const each of sim.nodes) {
    await sim.apply(each)
    if (random.chance(50)) driver.pass(random.below(100))
  }
}

function ping(sim: OverlaySim, tally: Tally): void {
  const [from, to] = [sim.one(sim.places), sim.one(sim.places)]
  const address = sim.random.chance(50) ? to.ipv4 : to.ipv6!
  const dontFragment = sim.random.chance(50)
  sim.acts.push(`ping ${from.name} to ${address}`)
  const options = { bytes: sim.random.below(1600), timeoutMs: 3000, dontFragment }
  void sim
    .host(from)
    ?.ping(address, options)
    .then(
      () => tally.pings++,
      () => {},
    )
}

function listen(sim: OverlaySim, listening: Set<unknown>, tally: Tally): void {
  for (const place of sim.places) {
    const host = sim.host(place)
    if (host === undefined || listening.has(host)) continue
    listening.add(host)
    host.udp(PORT).onMessage((message) => {
      tally.messages++
      try {
        if (message.data[0] === 1) message.reply(pattern(message.data.length, false))
      } catch (error) {
        if (!(error instanceof StackError)) throw error
      }
    })
  }
}

interface Path {
  readonly from: Place
  readonly to: Place
  readonly address: string
}

/** All but to where no file says that somebody is: routers of other nodes do not look for him. */
function paths(sim: OverlaySim): Path[] {
  const subnet = (place: Place): string => place.ipv4.split('.')[2]!
  return sim.places.flatMap((from) =>
    sim.places
      .filter((to) => to !== from)
      .flatMap((to) => [to.ipv4, to.ipv6!].map((address) => ({ from, to, address })))
      .filter(({ to, address }) => {
        const routed = !address.includes(':') && subnet(from) !== subnet(to)
        const hidden = [from, to].some(({ name }) => sim.unknown.includes(name))
        return !(routed && hidden && from.node !== to.node)
      }),
  )
}

async function unreached(sim: OverlaySim, list: readonly Path[]): Promise<Path[]> {
  const results = list.map(({ from, address }) =>
    sim
      .host(from)!
      .ping(address, { bytes: 10, timeoutMs: PING_MS - 1000 })
      .then(
        () => true,
        () => false,
      ),
  )
  sim.driver.pass(PING_MS)
  const reached = await Promise.all(results)
  return list.filter((_, i) => !reached[i])
}

/** No faults any more: everybody reaches everybody, in both families. */
async function calm(sim: OverlaySim): Promise<string[]> {
  sim.acts.push('calm')
  sim.net.setFaults({})
  for (const node of sim.nodes) await sim.apply(node)
  sim.driver.pass(SETTLE_MS)
  let left = paths(sim)
  // What was learned from damaged frames is found wrong when it is used, and then forgotten.
  for (let tries = 0; tries < TRIES && left.length > 0; tries++) left = await unreached(sim, left)
  return left.map(({ from, address }) => `${from.name} does not reach ${address}`)
}

async function simulate(seed: number, tally: Tally): Promise<void> {
  const sim = new OverlaySim(seed)
  const listening = new Set()
  const faults: string[] = []
  for (const node of sim.nodes) await sim.apply(node)
  for (let left = 5 + sim.random.below(20); left > 0 && faults.length === 0; left--) {
    listen(sim, listening, tally)
    const act = sim.random.below(100)
    if (act < 30) datagrams(sim)
    else if (act < 45) ping(sim, tally)
    else if (act < 60) throwFrames(sim)
    else if (act < 80) injectFaults(sim)
    else if (act < 90) await change(sim)
    else sim.driver.pass(sim.random.below(40_000))
    sim.driver.pass(sim.random.below(act % 5 === 0 ? 3000 : 20))
    faults.push(...sim.audit())
  }
  if (faults.length === 0 && sim.random.chance(60))
    faults.push(...(await calm(sim)), ...sim.audit())
  for (const { controller } of sim.nodes) {
    for (const { reason, count } of controller.drops()) {
      tally.reasons.set(reason, (tally.reasons.get(reason) ?? 0) + count)
    }
  }
  faults.push(...(await sim.close()))
  const how = `SIM_SEED=${seed} npx vitest run --project unit test/sim/overlay.test.ts`
  expect(faults, `seed ${seed}, after:\n${sim.acts.join('\n')}\nrepeat: ${how}\n`).toEqual([])
}

it('keeps the books of every node of an overlay', { timeout: PATIENCE_MS }, async () => {
  const tally: Tally = { messages: 0, pings: 0, reasons: new Map() }
  if (SIM_SEED !== undefined) return simulate(Number(SIM_SEED), tally)
  for (let seed = 0; seed < COUNT; seed++) await simulate(seed, tally)
  // Simulations in which nothing happened would prove nothing.
  expect(tally.messages).toBeGreaterThan(COUNT)
  expect(tally.pings).toBeGreaterThan(COUNT / 10)
  for (const reason of ['vxlan-gateway', 'link-lost']) {
    expect(tally.reasons.get(reason), reason).toBeGreaterThan(0)
  }
})
