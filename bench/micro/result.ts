/** What a piece took: handed from the measuring process to the one that reports. */
export interface PieceResult {
  readonly name: string
  /** Nanoseconds an operation: the median of all calls, and the best of them. */
  readonly medianNs: number
  readonly minNs: number
}
