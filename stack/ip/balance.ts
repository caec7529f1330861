/** Who decides which backend a new connection to a virtual address gets. */
export interface Balance {
  /** A backend for the client whose packet has this tuple, or -1. Allocates nothing. */
  pick(words: Int32Array, nowMs: number): number
  /** Four words, as in address.ts. */
  addressWords(backend: number): Int32Array
  /** Its own port; left out or 0: the service's. */
  targetPort?(backend: number): number
  opened(backend: number): void
  closed(backend: number): void
  /** A connection was refused or not answered. */
  failed(backend: number): void
}
