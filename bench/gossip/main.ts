/**
 * `npm run bench:gossip`: gossip in virtual time, from 10 to 1,000 nodes, and one large cluster
 * through everything that may go wrong. The report goes to bench/GOSSIP.md, with its chart.
 *
 * `--nodes 10,30,100` other sizes, `--stress 200:10000` another cluster, `--out FILE`, `--seed N`.
 * Times are of virtual time and do not depend on the machine; memory is this process's.
 *
 * The largest sizes take long. With `--keep FILE` each result is kept there as it comes, and one
 * that is there from the same commit and seed is not measured again: so a run that was stopped
 * goes on, and sizes may be measured one by one.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { describeMachine } from '../machine.ts'
import { formatNumber } from '../report.ts'
import { formatChart } from '../svg.ts'
import { formatGossip, gossipPanels } from './report.ts'
import { type Spread, type Stress, spread, stress } from './scenarios.ts'

/** Of the checkout, seen from dist/bench/gossip. */
const ROOT = join(import.meta.dirname, '..', '..', '..')

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '10,30,100,300,1000' },
    stress: { type: 'string', default: '200:10000' },
    out: { type: 'string', default: join(ROOT, 'bench', 'GOSSIP.md') },
    seed: { type: 'string', default: '1' },
    keep: { type: 'string' },
  },
})
const seed = Number(values.seed)
const [nodes, endpoints] = values.stress.split(':').map(Number)
if (!Number.isInteger(seed) || !(nodes! > 1) || !(endpoints! > 0)) {
  process.stderr.write('bench: --seed NUMBER, --stress NODES:ENDPOINTS\n')
  process.exit(2)
}

const machine = describeMachine(ROOT)

/** Results by what was asked; of one commit. */
interface Kept {
  readonly commit: string
  readonly spreads: { [asked: string]: Spread }
  readonly stresses: { [asked: string]: Stress }
}

function loadKept(): Kept {
  const none: Kept = { commit: machine.commit, spreads: {}, stresses: {} }
  if (values.keep === undefined || !existsSync(values.keep)) return none
  const kept = JSON.parse(readFileSync(values.keep, 'utf8')) as Kept
  return kept.commit === machine.commit ? kept : none
}

/** Others may have added theirs meanwhile. */
function keep(add: (kept: Kept) => void): void {
  if (values.keep === undefined) return
  const kept = loadKept()
  add(kept)
  writeFileSync(values.keep, JSON.stringify(kept, undefined, 2))
}

async function stressOf(asked: string): Promise<Stress> {
  const known = loadKept().stresses[asked]
  if (known !== undefined) return known
  const result = await stress(nodes!, endpoints!, seed)
  keep(({ stresses }) => {
    stresses[asked] = result
  })
  return result
}

async function spreadOf(count: number): Promise<Spread> {
  const asked = `${count} seed ${seed}`
  const known = loadKept().spreads[asked]
  if (known !== undefined) return known
  const result = await spread(count, seed)
  process.stderr.write(`${JSON.stringify(result)}\n`)
  keep(({ spreads }) => {
    spreads[asked] = result
  })
  return result
}

const spreads: Spread[] = []
for (const count of values.nodes.split(',').map(Number)) spreads.push(await spreadOf(count))
const stressed = await stressOf(`${nodes}:${endpoints} seed ${seed}`)

const file = resolve(values.out)
const chart = join(dirname(file), `${basename(file, '.md').toLowerCase()}.svg`)
writeFileSync(chart, formatChart('Gossip by nodes', gossipPanels(spreads), formatNumber))
writeFileSync(
  file,
  formatGossip({ spreads, stressed, seed, commit: machine.commit, chart: basename(chart) }),
)
process.stderr.write(`wrote ${file} and ${chart}\n`)
