/**
 * An underlay that becomes narrower than its nodes were told, under a running TCP transfer between
 * two daemons: the gateway tells the senders, their kernels adapt, and the transfer goes on.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { type Lab, labIn, until } from './lab.ts'
import { PORT, SINK, upPair } from './overlay_pair.ts'
import { Talk } from './talk.ts'
import { ip, makeWire, type Wire } from './wire.ts'

const NARROW_BYTES = 1400
/** Less 20 + 8 outside, 8 of VXLAN and 14 of Ethernet. */
const INNER_BYTES = NARROW_BYTES - 50
const MORE_BYTES = 4 << 20
/** Well above what a sender needs that has to try three times. */
const PATIENCE_MS = 20_000

/** Sends for ever to the address given, no faster than it needs to. */
const SOURCE = `
  const socket = net.connect(${PORT}, args[0], () => {
    tell('connected')
    const push = () => {
      for (let i = 0; i < 4; i++) if (!socket.write(BLOCK.subarray(0, 65536))) break
      setTimeout(push, 20)
    }
    push()
  })
  socket.on('error', () => {})
`

let wire: Wire
let labs: Lab[] = []
afterEach(async () => {
  for (const lab of labs) await lab.close()
  labs = []
  wire.remove()
})

async function start(offload: boolean): Promise<void> {
  wire = makeWire()
  labs = wire.names.map(labIn)
  await upPair(labs, offload)
}

async function total(sink: Talk): Promise<number> {
  return sink.ask<number>('')
}

/** Until that much more came; how much there is then. */
async function more(sink: Talk, what: string): Promise<number> {
  const before = await total(sink)
  await until(what, async () => (await total(sink)) > before + MORE_BYTES, PATIENCE_MS)
  return total(sink)
}

describe.each([
  ['IPv4, with offloads', '10.2.0.12', '10.2.0.1', true],
  ['IPv4, without', '10.2.0.12', '10.2.0.1', false],
  ['IPv6, without', 'fd00:2::12', 'fd00:2::1', false],
])('%s', (_, far, gateway, offload) => {
  it('TCP goes on when the path becomes narrow', { timeout: 120_000 }, async () => {
    await start(offload)
    const [one, two] = labs as [Lab, Lab]
    const sink = new Talk(two, 'app', SINK)
    await sink.hear()
    const source = new Talk(one, 'app', SOURCE, far)
    await source.hear()
    await more(sink, 'a transfer on a wide path')
    for (const name of wire.names) ip('-n', name, 'link', 'set', 'w0', 'mtu', `${NARROW_BYTES}`)
    const lost = async (): Promise<number> => {
      const drops = await one.json<{ reason: string; count: number }[]>('drops')
      return drops.find(({ reason }) => reason === 'underlay-mtu')?.count ?? 0
    }
    await more(sink, 'the transfer on a narrow path')
    await more(sink, 'the end of what was on its way')
    const adapted = await lost()
    expect(adapted).toBeGreaterThan(0)
    // A kernel asks whether the path is wide again only after minutes.
    await more(sink, 'more of it')
    expect(await lost(), 'a transfer that adapted loses no more').toBe(adapted)

    const { stdout } = await one.exec('app', 'ip', 'route', 'get', far)
    expect(stdout).toContain(`mtu ${INNER_BYTES}`)

    source.child.kill('SIGKILL')
    const family = far.includes(':') ? '-6' : '-4'
    await one.exec('app', 'ip', family, 'route', 'flush', 'cache')
    const bytes = `${1450 - (family === '-6' ? 48 : 28)}`
    const ping = await one.exec('app', 'ping', '-n', '-c1', '-W2', '-M', 'do', '-s', bytes, far)
    expect(ping.stdout).toMatch(new RegExp(`From ${gateway}:? icmp_seq=1 .*${INNER_BYTES}`))
    const [peer] = await one.json<{ pathMtu: number }[]>('peers')
    expect(peer!.pathMtu).toBe(NARROW_BYTES)
  })
})
