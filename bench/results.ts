/** All samples of a benchmark, and the verdicts that follow from them. */
import type { PeerName } from './peers/peer.ts'
import { BARS, type Bar, type MetricName, type Metrics, type QuestionName } from './questions.ts'
import { compare, median, type Ratio } from './stats.ts'

/** One value a round; not a number where the run failed, so that rounds stay aligned. */
export type Samples = Partial<Record<MetricName, number[]>>

export class Results {
  readonly samples: Partial<Record<QuestionName, Partial<Record<PeerName, Samples>>>> = {}
  /** Runs that failed, as sentences. */
  readonly failures: string[] = []

  /** Keep what a run of `round` (0, 1, ...) has measured. */
  add(question: QuestionName, peer: PeerName, round: number, metrics: Metrics): void {
    this.samples[question] ??= {}
    const ofQuestion = this.samples[question]
    ofQuestion[peer] ??= {}
    const samples = ofQuestion[peer]
    for (const [name, value] of Object.entries(metrics) as [MetricName, number][]) {
      samples[name] ??= []
      const values = samples[name]
      while (values.length < round) values.push(Number.NaN)
      values[round] = value
    }
  }

  /** Empty if that was never measured. */
  values(question: QuestionName, peer: PeerName, metric: MetricName): readonly number[] {
    return this.samples[question]?.[peer]?.[metric] ?? []
  }
}

export type Verdict = 'pass' | 'FAIL' | 'told' | 'not asked' | 'not measured'

export interface Judged {
  readonly bar: Bar
  readonly verdict: Verdict
  /** Medians; not a number where nothing was measured. */
  readonly value: number
  readonly reference: number
  /** Where the bar is a quotient. */
  readonly ratio: Ratio | undefined
}

/** What a run was asked for: the bars on anything else do not concern it. */
export interface Asked {
  readonly questions: readonly QuestionName[]
  readonly systems: readonly PeerName[]
}

/** Hold the results against every bar that was asked for. */
export function judge(results: Results, { questions, systems }: Asked, engine: string): Judged[] {
  const isAsked = ({ question, of, against = of }: Bar): boolean =>
    questions.includes(question) && systems.includes(of) && systems.includes(against)
  return BARS.filter(isAsked).map((bar) => judgeBar(results, bar, engine))
}

function judgeBar(results: Results, bar: Bar, engine: string): Judged {
  const { question, metric, of, against } = bar
  const values = results.values(question, of, metric)
  const references = against === undefined ? [] : results.values(question, against, metric)
  const value = median(values)
  const reference = median(references)
  const ratio = against === undefined ? undefined : compare(values, references)
  const verdict = verdictOf(bar, ratio?.ratio ?? value, engine)
  return { bar, verdict, value, reference, ratio }
}

function verdictOf(bar: Bar, measured: number, engine: string): Verdict {
  if (Number.isNaN(measured)) return 'not measured'
  if (bar.smallFrames === true && engine === 'poll') return 'not asked'
  if (bar.atLeast !== undefined) return measured >= bar.atLeast ? 'pass' : 'FAIL'
  if (bar.atMost !== undefined) return measured <= bar.atMost ? 'pass' : 'FAIL'
  return 'told'
}
