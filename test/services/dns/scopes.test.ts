/** Names never cross scopes, over random networks, sandboxes and aliases. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createFabric } from '../../../services/fabric/library.ts'
import { answers } from './ask.ts'

const NETWORKS = ['n0', 'n1', 'n2']
const NAMES = ['red', 'green', 'blue']

const sandbox = fc.dictionary(fc.constantFrom(...NETWORKS), fc.subarray(NAMES), {
  minKeys: 1,
  maxKeys: NETWORKS.length,
  noNullPrototype: true,
})

/** Networks of each sandbox, and its aliases on each. */
const topology = fc.array(sandbox, { minLength: 2, maxLength: 4 })

it('answers exactly the names of the networks that are shared', async () => {
  await fc.assert(
    fc.asyncProperty(topology, async (sandboxes) => {
      const fabric = await createFabric()
      for (const [i, name] of NETWORKS.entries()) {
        await fabric.network(name, { subnets: [`10.${i}.0.0/24`.replace('10.0', '10.9')] })
      }
      const subnetOf = (network: string): string => (network === 'n0' ? '10.9' : `10.${network[1]}`)
      const host = (index: number): string => `0.${index + 20}`
      for (const [i, networks] of sandboxes.entries()) {
        const entries = Object.entries(networks).map(([network, aliases]) => {
          return [network, { ipv4: `${subnetOf(network)}.${host(i)}`, aliases }]
        })
        await fabric.sandbox(`s${i}`, { networks: Object.fromEntries(entries) })
      }
      const asker = sandboxes[0]!
      const [first] = Object.keys(asker)
      const ask = (name: string) => answers(fabric.get('s0'), `${subnetOf(first!)}.0.1`, name)
      for (const name of [...NAMES, ...sandboxes.map((_, i) => `s${i}`)]) {
        const per = Object.keys(asker).map((network) => {
          const holders = sandboxes.flatMap((other, i) => {
            const called = other[network]?.includes(name) || (network in other && name === `s${i}`)
            return called ? [`${subnetOf(network)}.${host(i)}`] : []
          })
          return { network, holders: holders.sort() }
        })
        const expected = per.find(({ holders }) => holders.length > 0)?.holders
        const got = (await ask(name)).split(' ')
        expect(got.slice(1).sort(), name).toEqual(expected ?? [])
        expect(got[0]).toBe(expected === undefined ? 'SERVFAIL' : 'NOERROR')
        for (const network of NETWORKS) {
          const own = per.find((each) => each.network === network)?.holders ?? []
          const there = (await ask(`${name}.${network}`)).split(' ').slice(1)
          expect(there.sort(), `${name}.${network}`).toEqual(own)
        }
      }
      await fabric.close()
    }),
    { numRuns: 15, seed: 5 },
  )
})
