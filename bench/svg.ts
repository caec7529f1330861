/**
 * The chart beside the report: one panel a question, one bar a system, as plain SVG.
 *
 * Bars show medians, thin lines the least and the greatest round. Colors come in a light and a
 * dark set, chosen by the reader's system through a media query, which also works where the file
 * is embedded as an image. Every figure is also there as text.
 */

export interface ChartRow {
  readonly label: string
  readonly median: number
  readonly min: number
  readonly max: number
  /** Ours: drawn in the accent color. */
  readonly ours: boolean
}

export interface ChartPanel {
  readonly title: string
  readonly unit: string
  readonly rows: readonly ChartRow[]
}

const WIDTH = 760
const MARGIN = 16
const LABEL_WIDTH = 250
const VALUE_WIDTH = 130
const ROW_HEIGHT = 22
const BAR_HEIGHT = 14
const TITLE_HEIGHT = 30
const PANEL_GAP = 14
const BAR_X = MARGIN + LABEL_WIDTH
const BAR_WIDTH = WIDTH - BAR_X - VALUE_WIDTH - MARGIN

const STYLE = `
  svg { color-scheme: light dark }
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .page { fill: #ffffff }
  .bar { fill: #8c959f }
  .ours { fill: #0969da }
  .spread { stroke: #1f2328; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .page { fill: #0d1117 }
    .bar { fill: #6e7681 }
    .ours { fill: #4493f8 }
    .spread { stroke: #e6edf3 }
  }
`

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** @param format How a value is written behind its bar. */
export function formatChart(
  title: string,
  panels: readonly ChartPanel[],
  format: (value: number) => string,
): string {
  let y = MARGIN
  const parts: string[] = []
  for (const panel of panels) {
    parts.push(formatPanel(panel, y, format))
    y += TITLE_HEIGHT + panel.rows.length * ROW_HEIGHT + PANEL_GAP
  }
  const height = y - PANEL_GAP + MARGIN
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}"`,
    ` viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title">\n`,
    `<title id="title">${escapeText(title)}</title>\n<style>${STYLE}</style>\n`,
    `<rect class="page" width="${WIDTH}" height="${height}"/>\n`,
    ...parts,
    '</svg>\n',
  ].join('')
}

function formatPanel(panel: ChartPanel, y: number, format: (value: number) => string): string {
  const most = Math.max(...panel.rows.map((row) => row.max), Number.MIN_VALUE)
  const heading = `${escapeText(panel.title)} (${escapeText(panel.unit)})`
  const rows = panel.rows.map((row, i) => {
    const top = y + TITLE_HEIGHT + i * ROW_HEIGHT
    return formatRow(row, { top, scale: BAR_WIDTH / most, format })
  })
  return `<text class="title" x="${MARGIN}" y="${y + 16}">${heading}</text>\n${rows.join('')}`
}

function formatRow(
  { label, median, min, max, ours }: ChartRow,
  at: { top: number; scale: number; format: (value: number) => string },
): string {
  const { top, scale, format } = at
  const pixels = (value: number): string => (value * scale).toFixed(1)
  const x = (value: number): string => (BAR_X + value * scale).toFixed(1)
  const base = top + BAR_HEIGHT - 3
  const middle = top + BAR_HEIGHT / 2
  const kind = ours ? 'bar ours' : 'bar'
  const size = `width="${pixels(median)}" height="${BAR_HEIGHT}"`
  return [
    `<text x="${BAR_X - 8}" y="${base}" text-anchor="end">${escapeText(label)}</text>\n`,
    `<rect class="${kind}" x="${BAR_X}" y="${top}" ${size} rx="2"/>\n`,
    `<line class="spread" x1="${x(min)}" x2="${x(max)}" y1="${middle}" y2="${middle}"/>\n`,
    `<text x="${(BAR_X + max * scale + 8).toFixed(1)}" y="${base}">${format(median)}</text>\n`,
  ].join('')
}
