/**
 * A curve over a logarithmic axis, as a panel of the chart: one line a system, and under it the
 * figures as a table, each below its point, so that lines which meet can still be read.
 *
 * ```text
 *   most |  o-----o             lines: medians; thin verticals: least to greatest round
 *        |         `---o---o
 *      0 +--1-----100--10k-100k
 *    --- tapline  400 ...       the figures, with each line's dashes before its name
 * ```
 */
import { escapeText, PLOT } from './plot.ts'

export interface CurvePoint {
  /** Index among the positions of the panel. */
  readonly at: number
  readonly median: number
  readonly min: number
  readonly max: number
}

export interface CurveLine {
  readonly label: string
  /** Ours: drawn in the accent color. */
  readonly ours: boolean
  readonly points: readonly CurvePoint[]
}

export interface CurvePanel {
  readonly title: string
  readonly unit: string
  /** Above 0, rising, at least two. */
  readonly positions: readonly number[]
  readonly positionTexts: readonly string[]
  readonly lines: readonly CurveLine[]
}

const PLOT_HEIGHT = 150
const AXIS_HEIGHT = 24
/** Room beside the first and the last point for the figures below them. */
const INSET = 44
/** Lines of one color differ in dashes. */
const DASHES = ['', '7 4', '2 3'] as const

type Format = (value: number) => string

export function curveHeight({ lines }: CurvePanel): number {
  return PLOT.titleHeight + PLOT_HEIGHT + AXIS_HEIGHT + lines.length * PLOT.rowHeight
}

export function formatCurve(panel: CurvePanel, y: number, format: Format): string {
  const { lines, positions, positionTexts } = panel
  const most = Math.max(...lines.flatMap(({ points }) => points.map(({ max }) => max)))
  const top = y + PLOT.titleHeight
  const bottom = top + PLOT_HEIGHT
  const first = Math.log(positions[0]!)
  const span = Math.log(positions[positions.length - 1]!) - first
  const left = PLOT.barX + INSET
  const right = PLOT.width - PLOT.margin - INSET
  const x = (at: number): number =>
    left + ((Math.log(positions[at]!) - first) / span) * (right - left)
  const height = (value: number): number => bottom - (value / most) * PLOT_HEIGHT
  const axis = positionTexts.map((text, at) =>
    [
      `<text x="${x(at).toFixed(1)}" y="${bottom + 17}" text-anchor="middle">`,
      `${escapeText(text)}</text>\n`,
    ].join(''),
  )
  const drawn = lines.map((line, i) => {
    const row = bottom + AXIS_HEIGHT + i * PLOT.rowHeight
    return formatLine(line, { dashes: DASHES[i % DASHES.length]!, row, x, height, format })
  })
  const base = `x1="${PLOT.barX}" x2="${PLOT.width - PLOT.margin}" y1="${bottom}" y2="${bottom}"`
  return [
    `<text class="title" x="${PLOT.margin}" y="${y + 16}">`,
    `${escapeText(panel.title)} (${escapeText(panel.unit)})</text>\n`,
    `<line class="spread" ${base}/>\n`,
    `<text x="${PLOT.barX - 8}" y="${top + 10}" text-anchor="end">${format(most)}</text>\n`,
    `<text x="${PLOT.barX - 8}" y="${bottom}" text-anchor="end">0</text>\n`,
    ...axis,
    ...drawn,
  ].join('')
}

interface Place {
  readonly dashes: string
  /** Top of its row of figures. */
  readonly row: number
  readonly x: (at: number) => number
  readonly height: (value: number) => number
  readonly format: Format
}

function formatLine(
  { label, ours, points }: CurveLine,
  { dashes, row, x, height, format }: Place,
): string {
  const style = `class="curve${ours ? ' ours' : ''}" stroke-dasharray="${dashes}"`
  const corners = points.map(({ at, median }) => `${x(at).toFixed(1)},${height(median).toFixed(1)}`)
  const base = row + PLOT.rowHeight - 8
  const marks = points.map(({ at, median, min, max }) => {
    const across = x(at).toFixed(1)
    const spread = `y1="${height(min).toFixed(1)}" y2="${height(max).toFixed(1)}"`
    return [
      `<line class="spread" x1="${across}" x2="${across}" ${spread}/>\n`,
      `<text x="${across}" y="${base}" text-anchor="middle">${format(median)}</text>\n`,
    ].join('')
  })
  const key = `x1="${PLOT.margin}" x2="${PLOT.margin + 34}" y1="${base - 4}" y2="${base - 4}"`
  return [
    `<polyline ${style} points="${corners.join(' ')}"/>\n`,
    ...marks,
    `<line ${style} ${key}/>\n`,
    `<text x="${PLOT.margin + 42}" y="${base}">${escapeText(label)}</text>\n`,
  ].join('')
}
