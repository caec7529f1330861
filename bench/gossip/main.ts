/**
 * `npm run bench:gossip`: gossip in virtual time, from 10 to 1,000 nodes, and one large cluster
 * through everything that may go wrong. The report goes to bench/GOSSIP.md, with its chart.
 *
 * `--nodes 10,30,100` other sizes, `--stress 200:10000` another cluster, `--out FILE`, `--seed N`.
 * Times are of virtual time and do not depend on the machine; memory is this process's.
 */
import { writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { describeMachine } from '../machine.ts'
import { formatNumber } from '../report.ts'
import { formatChart } from '../svg.ts'
import { formatGossip, gossipPanels } from './report.ts'
import { type Spread, spread, stress } from './scenarios.ts'

/** Of the checkout, seen from dist/bench/gossip. */
const ROOT = join(import.meta.dirname, '..', '..', '..')

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '10,30,100,300,1000' },
    stress: { type: 'string', default: '200:10000' },
    out: { type: 'string', default: join(ROOT, 'bench', 'GOSSIP.md') },
    seed: { type: 'string', default: '1' },
  },
})
const seed = Number(values.seed)
const [nodes, endpoints] = values.stress.split(':').map(Number)
if (!Number.isInteger(seed) || !(nodes! > 1) || !(endpoints! > 0)) {
  process.stderr.write('bench: --seed NUMBER, --stress NODES:ENDPOINTS\n')
  process.exit(2)
}

const stressed = await stress(nodes!, endpoints!, seed)
const spreads: Spread[] = []
for (const count of values.nodes.split(',').map(Number)) {
  const startMs = performance.now()
  spreads.push(await spread(count, seed))
  const tookS = (performance.now() - startMs) / 1000
  process.stderr.write(`${JSON.stringify(spreads.at(-1))} (${tookS.toFixed(0)} s)\n`)
}

const file = resolve(values.out)
const chart = join(dirname(file), `${basename(file, '.md').toLowerCase()}.svg`)
writeFileSync(chart, formatChart('Gossip by nodes', gossipPanels(spreads), formatNumber))
const machine = describeMachine(ROOT)
writeFileSync(
  file,
  formatGossip({ spreads, stressed, seed, commit: machine.commit, chart: basename(chart) }),
)
process.stderr.write(`wrote ${file} and ${chart}\n`)
