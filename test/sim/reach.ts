/** Who reaches whom in the end, compared with who should. */
import type { Lab } from './lab.ts'
import { address4, reaches, reachesGateway, type SandboxPlan } from './world.ts'

/** Longer than neighbor discovery takes to notice that somebody is not where it was. */
const PING_MS = 12_000
const TRIES = 4

interface Path {
  readonly from: SandboxPlan
  readonly to: string
  readonly expected: boolean
}

/** Paths that are not as they should be, in words. */
export async function wrongs(lab: Lab): Promise<string[]> {
  let wrong = paths(lab)
  // What was learned from damaged frames is found wrong when it is used, and then forgotten.
  for (let tries = 0; tries < TRIES && wrong.length > 0; tries++) {
    wrong = await wrongPaths(lab, wrong)
  }
  return wrong.map(({ from, to, expected }) => {
    return `${from.name} ${expected ? 'does not reach' : 'reaches'} ${to}`
  })
}

function paths(lab: Lab): Path[] {
  const world = lab.world
  const { sandboxes, networks } = lab.controller.inspect()
  const paths: Path[] = []
  for (const a of world.sandboxes) {
    for (const network of networks) {
      const n = Number(network.name.slice(3))
      for (const to of network.gateways) {
        paths.push({ from: a, to, expected: reachesGateway(world, a, n, to.includes(':')) })
      }
    }
    for (const b of world.sandboxes.filter(({ name }) => name !== a.name)) {
      for (const { network, addresses } of sandboxes.find((s) => s.name === b.name)!.endpoints) {
        const n = Number(network.slice(3))
        for (const address of addresses) {
          const to = address.replace(/\/.*/, '')
          if (!to.includes(':') && to !== address4(b, n)) lab.faults.push(`${b.name} has ${to}`)
          paths.push({ from: a, to, expected: reaches(world, a, b, n, to.includes(':')) })
        }
      }
    }
  }
  return paths
}

async function wrongPaths(lab: Lab, paths: readonly Path[]): Promise<Path[]> {
  const results = paths.map(({ from, to }) => {
    const host = lab.links.host(from.name)!
    return host.ping(to, { bytes: 10, timeoutMs: PING_MS - 1000 }).then(
      () => true,
      () => false,
    )
  })
  lab.driver.pass(PING_MS)
  const reached = await Promise.all(results)
  return paths.filter(({ expected }, i) => reached[i] !== expected)
}
