/**
 * The names that resolvers are measured with: a thousand that they know themselves, and as many
 * that they ask an upstream for and keep.
 *
 * ```text
 *   n1-0 ... n1-99, n2-0 ... n10-99      ten addresses, a hundred names each
 *   n1-0.far.example ...                 the same number, known to the upstream alone
 * ```
 */
const HOLDERS = 10
const NAMES_EACH = 100
/** An hour: no answer goes out of date in a run. */
export const FAR_TTL_S = 3600
export const FAR_ZONE = 'far.example'

/** Who has names: all are called {@link names}, and the first of them is its own. */
export interface Holder {
  readonly names: readonly string[]
  readonly address: string
}

function holders(addressOf: (index: number) => string, suffix: string): readonly Holder[] {
  return Array.from({ length: HOLDERS }, (_, i) => {
    const names = Array.from({ length: NAMES_EACH }, (_, n) => `n${i + 1}-${n}${suffix}`)
    return { names, address: addressOf(i) }
  })
}

/** In the client's subnet. */
export const NEAR: readonly Holder[] = holders((i) => `10.77.1.${101 + i}`, '')
/** Nowhere (RFC 5737). */
export const FAR: readonly Holder[] = holders((i) => `198.51.100.${101 + i}`, `.${FAR_ZONE}`)

export interface NamedAddress {
  readonly name: string
  readonly address: string
}

export function flatNames(list: readonly Holder[]): readonly NamedAddress[] {
  return list.flatMap(({ names, address }) => names.map((name) => ({ name, address })))
}

/**
 * What dnsperf asks, one a line: in an order that goes from one holder to the next, so that
 * neighbours in the file are not neighbours in anybody's table.
 */
export function queryFile(list: readonly Holder[]): string {
  const lines = Array.from({ length: NAMES_EACH }, (_, n) =>
    list.map(({ names }) => `${names[n]} A`),
  )
  return `${lines.flat().join('\n')}\n`
}
