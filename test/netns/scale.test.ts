/** Two hundred sandboxes on ten networks: up, all pairs, idle, down; and SIGTERM in the middle. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { Lab, run } from './lab.ts'
import { UdpSocket } from './udp_socket.ts'

const NETWORKS = 10
const SANDBOXES_EACH = 20

function file(lab: Lab): string {
  const networks = Array.from(
    { length: NETWORKS },
    (_, n) => `  n${n}: { ipam: { config: [ { subnet: 10.40.${n}.0/24 } ] } }`,
  )
  const sandboxes = Array.from({ length: NETWORKS * SANDBOXES_EACH }, (_, i) => {
    const network = i % NETWORKS
    const host = 10 + Math.floor(i / NETWORKS)
    const address = `10.40.${network}.${host}`
    return `  s${i}:
    netns: ${lab.ns(`s${i}`)}
    networks: { n${network}: { ipv4_address: ${address} } }`
  })
  return `name: ${lab.prefix}
networks:
${networks.join('\n')}
sandboxes:
${sandboxes.join('\n')}
`
}

const PORT = 7777
const TRIES = 20

/** Send from every sandbox to every other one of its network; the pairs that did not work. */
async function unreachablePairs(lab: Lab): Promise<string[]> {
  const count = NETWORKS * SANDBOXES_EACH
  const sockets = Array.from({ length: count }, (_, i) => new UdpSocket(lab.ns(`s${i}`), PORT))
  const missing = new Set<string>()
  for (let i = 0; i < count; i++) {
    for (let j = i % NETWORKS; j < count; j += NETWORKS) if (j !== i) missing.add(`${i} ${j}`)
  }
  for (let tries = 0; tries < TRIES && missing.size > 0; tries++) {
    for (const pair of missing) {
      const [i, j] = pair.split(' ').map(Number) as [number, number]
      const ip = (10 << 24) | (40 << 16) | ((j % NETWORKS) << 8) | (10 + Math.floor(j / NETWORKS))
      sockets[i]!.send(i, { ip: ip >>> 0, port: PORT })
    }
    await new Promise((resolve) => setTimeout(resolve, 500))
    for (const [j, socket] of sockets.entries()) {
      for (let i = socket.receive(); i !== undefined; i = socket.receive()) {
        missing.delete(`${i} ${j}`)
      }
    }
  }
  for (const socket of sockets) socket.close()
  return [...missing]
}

/**
 * The kernel keeps the neighbors of all its namespaces in one table, 1,024 of them by default; all
 * pairs of this test are 3,800.
 */
const NEIGHBORS = ['gc_thresh1', 'gc_thresh2', 'gc_thresh3'].map(
  (name) => `/proc/sys/net/ipv4/neigh/default/${name}`,
)

describe('scale', () => {
  let lab: Lab
  let limits: string[]

  beforeAll(() => {
    limits = NEIGHBORS.map((file) => readFileSync(file, 'utf8'))
    for (const file of NEIGHBORS) writeFileSync(file, '16384')
  })

  afterAll(() => {
    for (const [i, file] of NEIGHBORS.entries()) writeFileSync(file, limits[i]!)
  })

  afterEach(async () => {
    await lab.close()
  })

  it('brings 200 sandboxes up and down, all pairs reachable, nothing left behind', async () => {
    lab = new Lab()
    const before = await run(['ip', '-br', 'link'])
    await lab.up(file(lab))
    expect(await unreachablePairs(lab)).toEqual([])
    const { code } = await lab.stop()
    expect(code).toBe(0)
    expect(lab.leftovers()).toEqual([])
    expect((await run(['ip', '-br', 'link'])).stdout).toBe(before.stdout)
  }, 180_000)

  it.each([0, 150, 600, 1500])('leaves nothing after SIGTERM %d ms into `up`', async (ms) => {
    lab = new Lab()
    await lab.up(file(lab), [], false)
    await new Promise((resolve) => setTimeout(resolve, 300 + ms))
    const { code } = await lab.stop()
    expect([0, null]).toContain(code)
    expect(lab.leftovers()).toEqual([])
    expect(readdirSync(lab.folder)).toEqual(['lab.yaml'])
  })
})
