/**
 * Which results the chart shows: the headline of every question that was put to systems, and of
 * frames through NAT the curve over the number of flows.
 */
import { PEERS } from './peers/list.ts'
import { FLOW_COUNTS, METRICS, type MetricName, QUESTION_NAMES, QUESTIONS } from './questions.ts'
import type { Results } from './results.ts'
import { summarize } from './stats.ts'
import type { ChartPanel, ChartRow } from './svg.ts'

/** One bar a point, from one flow to many. */
const CURVE = Object.keys(FLOW_COUNTS) as (keyof typeof FLOW_COUNTS)[]

function flowText(metric: MetricName): string {
  const flows = FLOW_COUNTS[metric as keyof typeof FLOW_COUNTS]
  return flows === 1 ? '1 flow' : `${flows.toLocaleString('en-US')} flows`
}

export function chartPanels(results: Results): ChartPanel[] {
  return QUESTION_NAMES.filter((question) => question !== 'fleet').flatMap((question) => {
    const { title, headline, lessIsBetter, peers } = QUESTIONS[question]
    const metrics = question === 'frames-nat' ? CURVE : [headline]
    const rows = peers.flatMap((peer) =>
      metrics.flatMap((metric): ChartRow[] => {
        const summary = summarize(results.values(question, peer, metric))
        if (Number.isNaN(summary.median)) return []
        const suffix = metrics.length === 1 ? '' : `, ${flowText(metric)}`
        const label = PEERS[peer].title + suffix
        return [{ label, ...summary, ours: peer.startsWith('tapline') }]
      }),
    )
    if (rows.length === 0) return []
    const unit = METRICS[headline] + (lessIsBetter === true ? ', less is better' : '')
    return [{ title, unit, rows }]
  })
}
