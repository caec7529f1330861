/**
 * Underlays between two daemons that carry less than the nodes were told: a switch that drops
 * what is larger without an ICMP error is found by trying; a small interface is told of.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { deleteNetns } from '../../stack/native/netns.ts'
import { hasTool, type Lab, labIn, must, until } from './lab.ts'
import { PORT, SINK, upPair } from './overlay_pair.ts'
import { Talk } from './talk.ts'
import { ip, makeHub } from './wire.ts'

const NARROW_BYTES = 1400
const INNER_BYTES = NARROW_BYTES - 50
const TRANSFER_BYTES = 300_000
/** Some 4 s to find the path; a sender that was silent meanwhile tries again within as much. */
const THROUGH_MS = 20_000

const SOURCE = `
  const socket = net.connect(${PORT}, args[0], () => {
    socket.write(BLOCK.subarray(0, ${TRANSFER_BYTES}))
    tell('connected')
  })
  socket.on('error', () => {})
`

let serial = 0
let namespaces: string[] = []
let labs: Lab[] = []
afterEach(async () => {
  for (const lab of labs) await lab.close()
  for (const name of namespaces) deleteNetns(name)
  labs = []
  namespaces = []
})

/** Two namespaces at a switch, whose addresses the nodes have; the switch. */
function makeUnderlay(): string {
  const prefix = `tlh${process.pid}x${serial++}`
  const [hub, ...names] = ['h', 'a', 'b'].map((end) => `${prefix}${end}`) as [string, ...string[]]
  namespaces = [hub, ...names]
  makeHub(hub, names, 'w0')
  return hub
}

async function start(): Promise<[Lab, Lab]> {
  labs = namespaces.slice(1).map(labIn)
  await upPair(labs)
  return labs as [Lab, Lab]
}

async function pathOf(lab: Lab): Promise<number> {
  const [peer] = await lab.json<{ pathMtu: number }[]>('peers')
  return peer!.pathMtu
}

/** How often the log says it. */
function said(lab: Lab, message: string): number {
  return lab.log.split(message).length - 1
}

const DROPS = 'the path to a node drops larger packets without telling the host'
const LESS = 'the path to a node carries less than node.underlay.mtu says'
const SET = `set node.underlay.mtu to ${NARROW_BYTES}`

if (hasTool('ethtool', 'ethtool')) {
  describe('a switch that drops what is larger than 1,400 octets', () => {
    it('is found, told once, and lets TCP through', { timeout: 120_000 }, async () => {
      const hub = makeUnderlay()
      // Super-frames would pass: a bridge does not ask for their segments.
      for (const name of namespaces.slice(1)) {
        await must('ip', 'netns', 'exec', name, 'ethtool', '-K', 'w0', 'tx', 'off', 'gro', 'off')
      }
      ip('-n', hub, 'link', 'set', 'p2', 'mtu', `${NARROW_BYTES}`)
      const [one, two] = await start()
      const sink = new Talk(two, 'app', SINK)
      await sink.hear()
      for (const [count, far] of [
        [1, '10.2.0.12'],
        [2, 'fd00:2::12'],
      ] as const) {
        const source = new Talk(one, 'app', SOURCE, far)
        await source.hear()
        const came = async (): Promise<boolean> =>
          (await sink.ask<number>('')) >= count * TRANSFER_BYTES
        await until(`300 KB to ${far}`, came, THROUGH_MS, () => one.log)
        const { stdout } = await one.exec('app', 'ip', 'route', 'get', far)
        expect(stdout).toContain(`mtu ${INNER_BYTES}`)
      }
      expect([await pathOf(one), await pathOf(two)]).toEqual([NARROW_BYTES, NARROW_BYTES])
      for (const lab of [one, two]) {
        expect([said(lab, DROPS), said(lab, LESS), said(lab, SET)], lab.log).toEqual([1, 0, 0])
      }
    })
  })
}

describe('an interface of 1,400 octets from the start', () => {
  it('is told once by the nodes', { timeout: 120_000 }, async () => {
    makeUnderlay()
    for (const name of namespaces.slice(1)) {
      ip('-n', name, 'link', 'set', 'w0', 'mtu', `${NARROW_BYTES}`)
    }
    const [one, two] = await start()
    expect(await one.ping('app', '10.2.0.12')).toBeGreaterThan(0)
    expect([await pathOf(one), await pathOf(two)]).toEqual([NARROW_BYTES, NARROW_BYTES])
    for (const lab of [one, two]) {
      expect([said(lab, DROPS), said(lab, LESS), said(lab, SET)], lab.log).toEqual([0, 1, 1])
    }
  })
})
