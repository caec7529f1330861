/**
 * The few statistics that the benchmark reports: medians and extremes of a handful of rounds,
 * and quotients of two systems' medians with the spread of the rounds beside them.
 *
 * Medians, because one disturbed round must not decide; extremes, because a reader should see how
 * much the machine wavered. Standard deviations of five rounds would only look precise. A round
 * that failed is not a number, and is left out.
 */

export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** The quotient of two medians, and the extremes of the quotients round by round. */
export interface Ratio {
  readonly ratio: number
  readonly min: number
  readonly max: number
}

/** The values that are numbers, the smallest first. */
function sorted(values: readonly number[]): number[] {
  return values.filter(Number.isFinite).sort((a, b) => a - b)
}

/**
 * The value below which the fraction `q` (0 to 1) of `values` lies, interpolated linearly.
 * Not a number if there are none.
 */
export function quantile(values: readonly number[], q: number): number {
  const ordered = sorted(values)
  if (ordered.length === 0) return Number.NaN
  const at = (ordered.length - 1) * q
  const low = Math.floor(at)
  const below = ordered[low]!
  const above = ordered[Math.min(low + 1, ordered.length - 1)]!
  return below + (above - below) * (at - low)
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export function summarize(values: readonly number[]): Summary {
  return { median: median(values), min: quantile(values, 0), max: quantile(values, 1) }
}

/**
 * `a` against `b`, each by rounds. The quotient is that of the medians; its spread is taken over
 * the rounds that both have, whose runs stood side by side in time.
 */
export function compare(a: readonly number[], b: readonly number[]): Ratio {
  const rounds = a.slice(0, b.length).map((value, i) => value / b[i]!)
  return { ratio: median(a) / median(b), min: quantile(rounds, 0), max: quantile(rounds, 1) }
}
