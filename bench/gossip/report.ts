/** The report of gossip as Markdown, and the panels of its chart. */
import type { CurveLine, CurvePanel } from '../curve.ts'
import { formatNumber } from '../report.ts'
import { detectionTheoryMs, type Spread, type Stress, theoryMs } from './scenarios.ts'

export interface GossipReport {
  readonly spreads: readonly Spread[]
  readonly stressed: Stress
  readonly seed: number
  readonly commit: string
  /** File of the chart, beside the report. */
  readonly chart: string
}

export function gossipPanels(spreads: readonly Spread[]): CurvePanel[] {
  const positions = spreads.map(({ nodes }) => nodes)
  const positionTexts = positions.map((nodes) => nodes.toLocaleString('en-US'))
  const line = (label: string, ours: boolean, value: (one: Spread) => number): CurveLine => ({
    label,
    ours,
    points: spreads.map((one, at) => {
      const median = value(one)
      return { at, median, min: median, max: median }
    }),
  })
  const panel = (title: string, unit: string, lines: CurveLine[]): CurvePanel => {
    return { title, unit, positions, positionTexts, lines }
  }
  return [
    panel('An announcement reaches the last node', 'ms, by nodes', [
      line('tapline, median', true, ({ medianMs }) => medianMs),
      line('tapline, worst', true, ({ worstMs }) => worstMs),
      line('theory of epidemics', false, ({ nodes }) => theoryMs(nodes)),
    ]),
    panel('A dead node is taken for dead', 's, by nodes', [
      line('by the first, mean', true, ({ firstFailMs }) => firstFailMs / 1000),
      line('by the last, mean', true, ({ lastFailMs }) => lastFailMs / 1000),
      line('theory of SWIM, by the first', false, ({ nodes }) => detectionTheoryMs(nodes) / 1000),
    ]),
    panel('Traffic of a node with nothing to tell', 'octets/s, by nodes', [
      line('all', true, ({ idleBytesPerS }) => idleBytesPerS),
      line('tables', true, ({ idleTableBytesPerS }) => idleTableBytesPerS),
    ]),
    panel('One announcement costs each node', 'octets, by nodes', [
      line('all it sends', true, ({ writeBytes }) => writeBytes),
    ]),
  ]
}

/** What the table by nodes shows. */
const BY_NODES: readonly string[] = [
  'One network that all nodes are in. They start one after another, a tenth of them a second but',
  'at least 20, and each joins by way of one that is there. An announcement: from the call on one',
  'node until the last node has it, median and worst of ten. Theory: rounds of 200 ms in which',
  'each tells three others, log4 n + (ln n) / 3. Death: until the first takes a killed node for',
  'dead, and until the last does, means of twelve, and the worst. Theory for the first: half a',
  'period of 1 s, of the one in which it died; e/(e-1) whole ones (SWIM), since a probe fails when',
  "its period is over; and memberlist's least suspicion, 4 log10 n of them.",
  'Idle, of each node a second, tables in parentheses. A write: what tables of each node send',
  'for one announcement, comparisons after it included.\n',
]

export function formatGossip({ spreads, stressed, seed, commit, chart }: GossipReport): string {
  const seconds = (ms: number | undefined): string =>
    ms === undefined ? 'not' : `${(ms / 1000).toFixed(1)} s`
  const rows = spreads.map((one) => [
    one.nodes.toLocaleString('en-US'),
    `${one.medianMs.toFixed(0)} / ${one.worstMs.toFixed(0)} ms`,
    `${theoryMs(one.nodes).toFixed(0)} ms`,
    [one.firstFailMs, one.lastFailMs, one.worstFailMs].map(seconds).join(' / '),
    seconds(detectionTheoryMs(one.nodes)),
    formatNumber(one.idleMessagesPerS),
    `${formatNumber(one.idleBytesPerS)} (${formatNumber(one.idleTableBytesPerS)})`,
    `${formatNumber(one.writeMessages)} / ${formatNumber(one.writeBytes)}`,
  ])
  const phases = stressed.phases.map(({ name, ms, messages, bytes }) => [
    name,
    seconds(ms),
    formatNumber(messages),
    formatNumber(bytes / 1000),
  ])
  const { differences } = stressed
  const sizes = spreads.map(({ nodes }) => nodes).join(',')
  const large = `${stressed.nodes}:${stressed.endpoints}`
  return [
    '# Gossip, in virtual time\n',
    `Seed ${seed}, commit ${commit}. Repeat with`,
    `\`npm run bench:gossip -- --seed ${seed} --nodes ${sizes} --stress ${large}\`.`,
    'Messages take 0.5 to 1.5 ms. Times are virtual: they do not depend on the machine.\n',
    `![Curves by number of nodes](${chart})\n`,
    '## By nodes\n',
    ...BY_NODES,
    table(
      [
        'nodes',
        'announcement',
        'theory',
        'death',
        'theory',
        'idle msg/s',
        'idle B/s',
        'write msg / B',
      ],
      rows,
    ),
    `## ${stressed.nodes} nodes, ${stressed.endpoints.toLocaleString('en-US')} endpoints\n`,
    'One network that all nodes are in. After each, the time until every node has in force exactly',
    'what there is; messages and kB that each node sent in that time, membership included.\n',
    table(['what', 'until all agree', 'messages', 'kB'], phases),
    differences.length === 0
      ? 'In the end all tables were compared one by one: no difference.\n'
      : `In the end: ${differences.join('; ')}.\n`,
    `Memory: ${stressed.bytesPerEndpoint.toFixed(0)} octets for an endpoint on a node.\n`,
  ].join('\n')
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`
  return [line(headings), line(headings.map(() => '---')), ...rows.map(line)].join('')
}
