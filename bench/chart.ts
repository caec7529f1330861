/** Which results the chart shows: the headline of every question that was put to systems. */
import { PEERS } from './peers/list.ts'
import { METRICS, QUESTION_NAMES, QUESTIONS } from './questions.ts'
import type { Results } from './results.ts'
import { summarize } from './stats.ts'
import type { ChartPanel, ChartRow } from './svg.ts'

export function chartPanels(results: Results): ChartPanel[] {
  return QUESTION_NAMES.filter((question) => question !== 'fleet').flatMap((question) => {
    const { title, headline, lessIsBetter, peers } = QUESTIONS[question]
    const rows = peers.flatMap((peer): ChartRow[] => {
      const summary = summarize(results.values(question, peer, headline))
      if (Number.isNaN(summary.median)) return []
      return [{ label: PEERS[peer].title, ...summary, ours: peer.startsWith('tapline') }]
    })
    if (rows.length === 0) return []
    const unit = METRICS[headline] + (lessIsBetter === true ? ', less is better' : '')
    return [{ title, unit, rows }]
  })
}
