/** What was found out about a piece: handed from the measuring process to the one that reports. */
export interface PieceResult {
  readonly name: string
  readonly unit: 'ns' | 'octets' | 'k connections/s'
  /** The median of all calls, or the one figure there is. */
  readonly median: number
  /** The best of all calls; left out where there is one figure. */
  readonly least?: number
}
