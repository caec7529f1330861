/**
 * The chart beside the report: one panel a question, one bar a system, as plain SVG. A question
 * that is put at several sizes has a curve (curve.ts) in place of bars.
 *
 * Bars show medians, thin lines the least and the greatest round. Colors come in a light and a
 * dark set, chosen by the reader's system through a media query, which also works where the file
 * is embedded as an image. Every figure is also there as text.
 */
import { type CurvePanel, curveHeight, formatCurve } from './curve.ts'
import { escapeText, PLOT } from './plot.ts'

export interface ChartRow {
  readonly label: string
  readonly median: number
  readonly min: number
  readonly max: number
  /** Ours: drawn in the accent color. */
  readonly ours: boolean
}

export interface BarPanel {
  readonly title: string
  readonly unit: string
  readonly rows: readonly ChartRow[]
}

export type ChartPanel = BarPanel | CurvePanel

const VALUE_WIDTH = 130
const BAR_HEIGHT = 14
const PANEL_GAP = 14
const BAR_WIDTH = PLOT.width - PLOT.barX - VALUE_WIDTH - PLOT.margin

const STYLE = `
  svg { color-scheme: light dark }
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .page { fill: #ffffff }
  .bar { fill: #8c959f }
  .bar.ours { fill: #0969da }
  .spread { stroke: #1f2328; stroke-width: 1.5 }
  .curve { fill: none; stroke: #8c959f; stroke-width: 2.5 }
  .curve.ours { stroke: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .page { fill: #0d1117 }
    .bar { fill: #6e7681 }
    .bar.ours { fill: #4493f8 }
    .spread { stroke: #e6edf3 }
    .curve { stroke: #6e7681 }
    .curve.ours { stroke: #4493f8 }
  }
`

/** @param format How a value is written behind its bar. */
export function formatChart(
  title: string,
  panels: readonly ChartPanel[],
  format: (value: number) => string,
): string {
  let y: number = PLOT.margin
  const parts: string[] = []
  for (const panel of panels) {
    const curved = 'lines' in panel
    parts.push(curved ? formatCurve(panel, y, format) : formatPanel(panel, y, format))
    y += PANEL_GAP
    y += curved ? curveHeight(panel) : PLOT.titleHeight + panel.rows.length * PLOT.rowHeight
  }
  const height = y - PANEL_GAP + PLOT.margin
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${PLOT.width}" height="${height}"`,
    ` viewBox="0 0 ${PLOT.width} ${height}" role="img" aria-labelledby="title">\n`,
    `<title id="title">${escapeText(title)}</title>\n<style>${STYLE}</style>\n`,
    `<rect class="page" width="${PLOT.width}" height="${height}"/>\n`,
    ...parts,
    '</svg>\n',
  ].join('')
}

function formatPanel(panel: BarPanel, y: number, format: (value: number) => string): string {
  const most = Math.max(...panel.rows.map((row) => row.max), Number.MIN_VALUE)
  const heading = `${escapeText(panel.title)} (${escapeText(panel.unit)})`
  const rows = panel.rows.map((row, i) => {
    const top = y + PLOT.titleHeight + i * PLOT.rowHeight
    return formatRow(row, { top, scale: BAR_WIDTH / most, format })
  })
  return `<text class="title" x="${PLOT.margin}" y="${y + 16}">${heading}</text>\n${rows.join('')}`
}

function formatRow(
  { label, median, min, max, ours }: ChartRow,
  at: { top: number; scale: number; format: (value: number) => string },
): string {
  const { top, scale, format } = at
  const pixels = (value: number): string => (value * scale).toFixed(1)
  const x = (value: number): string => (PLOT.barX + value * scale).toFixed(1)
  const base = top + BAR_HEIGHT - 3
  const middle = top + BAR_HEIGHT / 2
  const kind = ours ? 'bar ours' : 'bar'
  const size = `width="${pixels(median)}" height="${BAR_HEIGHT}"`
  return [
    `<text x="${PLOT.barX - 8}" y="${base}" text-anchor="end">${escapeText(label)}</text>\n`,
    `<rect class="${kind}" x="${PLOT.barX}" y="${top}" ${size} rx="2"/>\n`,
    `<line class="spread" x1="${x(min)}" x2="${x(max)}" y1="${middle}" y2="${middle}"/>\n`,
    `<text x="${(PLOT.barX + max * scale + 8).toFixed(1)}" y="${base}">${format(median)}</text>\n`,
  ].join('')
}
