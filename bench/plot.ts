/** What the panels of the chart share: measures in pixels, and text that is safe in XML. */
const MARGIN = 16
const LABEL_WIDTH = 250

export interface Plot {
  readonly width: number
  readonly margin: number
  /** Left of it are labels. */
  readonly barX: number
  readonly titleHeight: number
  readonly rowHeight: number
}

export const PLOT: Plot = {
  width: 760,
  margin: MARGIN,
  barX: MARGIN + LABEL_WIDTH,
  titleHeight: 30,
  rowHeight: 22,
}

export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
