/**
 * Which results the chart shows: the headline of every question that was put to systems, and of
 * frames through NAT the curve over the number of flows.
 */
import type { CurvePanel, CurvePoint } from './curve.ts'
import { PEERS } from './peers/list.ts'
import type { PeerName } from './peers/peer.ts'
import { FLOW_COUNTS, METRICS, QUESTION_NAMES, QUESTIONS, type QuestionName } from './questions.ts'
import type { Results } from './results.ts'
import { summarize } from './stats.ts'
import type { BarPanel, ChartPanel, ChartRow } from './svg.ts'

/** One point of a curve each, from one flow to many. */
const FLOW_METRICS = Object.keys(FLOW_COUNTS) as (keyof typeof FLOW_COUNTS)[]
const POSITIONS: readonly number[] = Object.values(FLOW_COUNTS)
const POSITION_TEXTS: readonly string[] = POSITIONS.map((count) => {
  return count === 1 ? '1 flow' : count.toLocaleString('en-US')
})

export function chartPanels(results: Results): ChartPanel[] {
  const shown = QUESTION_NAMES.filter((question) => question !== 'fleet')
  return shown.flatMap((question): ChartPanel[] =>
    question === 'frames-nat' ? flowPanel(results) : barPanel(results, question),
  )
}

function isOurs(peer: PeerName): boolean {
  return peer.startsWith('tapline')
}

/** None if nothing was measured. */
function barPanel(results: Results, question: QuestionName): BarPanel[] {
  const { title, headline, lessIsBetter, peers } = QUESTIONS[question]
  const rows = peers.flatMap((peer): ChartRow[] => {
    const summary = summarize(results.values(question, peer, headline))
    if (Number.isNaN(summary.median)) return []
    return [{ label: PEERS[peer].title, ...summary, ours: isOurs(peer) }]
  })
  if (rows.length === 0) return []
  const unit = METRICS[headline] + (lessIsBetter === true ? ', less is better' : '')
  return [{ title, unit, rows }]
}

/** None if nothing was measured. */
function flowPanel(results: Results): CurvePanel[] {
  const { title, headline, peers } = QUESTIONS['frames-nat']
  const lines = peers.flatMap((peer) => {
    const points = FLOW_METRICS.flatMap((metric, at): CurvePoint[] => {
      const summary = summarize(results.values('frames-nat', peer, metric))
      return Number.isNaN(summary.median) ? [] : [{ at, ...summary }]
    })
    return points.length === 0 ? [] : [{ label: PEERS[peer].title, ours: isOurs(peer), points }]
  })
  if (lines.length === 0) return []
  const unit = `${METRICS[headline]}, by flows`
  return [{ title, unit, positions: POSITIONS, positionTexts: POSITION_TEXTS, lines }]
}
