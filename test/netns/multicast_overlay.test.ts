/**
 * Multicast over an overlay network of three daemons: the sender's node sends a group to the nodes
 * where somebody joined it, once each, and to no other, as the interfaces of the nodes count. Of
 * both families, while hosts join and leave.
 */
import { afterEach, expect, it } from 'vitest'
import { Client } from '../../services/client.ts'
import type { Stats } from '../../services/views_counters.ts'
import { deleteNetns } from '../../stack/native/netns.ts'
import { type Lab, labIn, must, until } from './lab.ts'
import { COUNT, FEW, GROUPS, PAYLOAD_BYTES, RECEIVER, SENDER } from './multicast_programs.ts'
import { Talk } from './talk.ts'
import { makeHub } from './wire.ts'

const NUMBERS = [1, 2, 3] as const
/** A node that is new gets every group for 41 s. */
const KNOWN_MS = 45_000
/** Who answers last that he still wants a group, and a little more. */
const LEFT_MS = 4_000
/** Until a report has crossed; a kernel repeats it within a second. */
const JOINED_MS = 1_500
const [LATE_MS, SPARE_MS] = [10_000, 500]
/** What headers add to octets at most: far less than a second copy. */
const HEADERS = 1.1
const prefix = `tlm${process.pid}`
const nodeNs = (number: number): string => `${prefix}n${number}`
const HUB = `${prefix}hub`

const labs = new Map<number, Lab>()

afterEach(async () => {
  for (const lab of labs.values()) await lab.close()
  labs.clear()
  for (const name of [HUB, ...NUMBERS.map(nodeNs)]) deleteNetns(name)
})

function file(number: number, lab: Lab): string {
  const others = NUMBERS.filter((other) => other !== number)
  const sandbox = (name: string, last: number): string => `  ${name}:
    netns: ${lab.ns(name)}
    networks: { back: { ipv4_address: 10.2.0.${last}, ipv6_address: "fd00:2::${last}",
                        mac_address: "02:00:00:00:00:${last}" } }`
  return `
name: mo${number}
node:
  name: n${number}
  underlay: { address: 10.200.0.${number} }
  peers: [ ${others.map((other) => `10.200.0.${other}`).join(', ')} ]
networks:
  back:
    driver: overlay
    enable_ipv6: true
    driver_opts: { com.docker.network.driver.overlay.vxlanid_list: "4097" }
    ipam: { config: [ { subnet: 10.2.0.0/24 }, { subnet: "fd00:2::/64" } ] }
sandboxes:
${sandbox('app', 10 + number)}
${number === 1 ? sandbox('src', 20) : ''}
`
}

/**
 * Octets of all kinds that came to the node, as its kernel counts, in datagrams of the sender's:
 * those that travel as one are counted as one.
 */
async function received(number: number): Promise<number> {
  const netns = nodeNs(number)
  const [link] = JSON.parse(await must('ip', '-n', netns, '-s', '-json', 'link', 'show', 'w0')) as {
    stats64: { rx: { bytes: number } }
  }[]
  return Math.trunc(link!.stats64.rx.bytes / PAYLOAD_BYTES)
}

/** The same of the VNI, as its daemon counts. */
async function tunneled(number: number): Promise<number> {
  const client = new Client(labs.get(number)!.socket)
  const { devices } = await client.get<Stats>('stats')
  const { rxBytes } = devices.find(({ device }) => device === 'back/tunnel')!
  return Math.trunc(rxBytes / PAYLOAD_BYTES)
}

async function say(talk: Talk, line: string): Promise<void> {
  talk.say(line)
  await talk.hear()
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

it('a group goes to nodes with members, once, and to no others', { timeout: 240_000 }, async () => {
  makeHub(HUB, NUMBERS.map(nodeNs), 'w0')
  const apps = new Map<number, Talk>()
  for (const number of NUMBERS) {
    const lab = labIn(nodeNs(number))
    labs.set(number, lab)
    await lab.up(file(number, lab))
  }
  for (const number of NUMBERS) {
    const app = new Talk(labs.get(number)!, 'app', RECEIVER, `10.2.0.${10 + number}`)
    apps.set(number, app)
    await app.hear()
  }
  const src = new Talk(labs.get(1)!, 'src', SENDER)
  await src.hear()
  await wait(KNOWN_MS)

  /** How many datagrams of a family the program of a node got so far. */
  const heard = async (number: number, group: string): Promise<number> => {
    const counts = await apps.get(number)!.ask<{ four: number; six: number }>('')
    return group.includes(':') ? counts.six : counts.four
  }

  /** What programs, interfaces of nodes and tunnels got so far. */
  const look = (group: string): Promise<number[][]> =>
    Promise.all(
      NUMBERS.map(async (n) => [await heard(n, group), await received(n), await tunneled(n)]),
    )

  /** Programs exactly; nodes nearly, since they hear other things as well. */
  const expectSent = async (group: string, members: readonly number[]): Promise<void> => {
    const whole = NUMBERS.map((number) => (members.includes(number) ? COUNT : 0))
    const before = await look(group)
    await say(src, group)
    // A busy machine delivers late; what is not delivered by then was not sent.
    for (const number of members) {
      const came = async (): Promise<number> =>
        (await heard(number, group)) - before[number - 1]![0]!
      const all = async (): Promise<boolean> => (await came()) >= COUNT
      const found = async (): Promise<string> => `(${await came()} of ${COUNT})`
      await until(`node ${number} hears ${group}`, all, LATE_MS, found)
    }
    await wait(SPARE_MS)
    const after = await look(group)
    for (const [i, number] of NUMBERS.entries()) {
      const [programs, interfaces, tunnels] = after[i]!.map((count, at) => count - before[i]![at]!)
      expect(programs, `program of node ${number}, ${group}`).toBe(whole[i])
      // What the sender's own node hears of it does not cross.
      const crossed = number === 1 ? 0 : whole[i]!
      for (const count of [interfaces!, tunnels!]) {
        expect(count, `node ${number}, ${group}`).toBeGreaterThanOrEqual(crossed)
        expect(count, `node ${number}, ${group}`).toBeLessThan(crossed * HEADERS + FEW)
      }
    }
  }

  for (const group of GROUPS) {
    await expectSent(group, [])
    await say(apps.get(1)!, `+${group}`)
    await say(apps.get(2)!, `+${group}`)
    await wait(JOINED_MS)
    await expectSent(group, [1, 2])
    await say(apps.get(3)!, `+${group}`)
    await wait(JOINED_MS)
    await expectSent(group, [1, 2, 3])
    await say(apps.get(2)!, `-${group}`)
    await wait(LEFT_MS)
    await expectSent(group, [1, 3])
  }
  const rows = await labs.get(1)!.json<{ group: string; port: string }[]>('groups', 'back')
  const members = rows.filter(({ group }) => GROUPS.some((each) => each === group))
  expect(members.map(({ group, port }) => `${group} ${port}`).sort()).toMatchInlineSnapshot(`
    [
      "239.1.2.3 app/eth0",
      "239.1.2.3 tunnel",
      "239.1.2.3 tunnel 10.200.0.3",
      "ff05::1:3 app/eth0",
      "ff05::1:3 tunnel",
      "ff05::1:3 tunnel 10.200.0.3",
    ]
  `)
})
