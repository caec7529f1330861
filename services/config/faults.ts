/**
 * Faults of a configuration file, each with its place: `FILE:line:column: what is wrong and what
 * would be right`. All of them are collected, since a person who mends a file wants to see every
 * one at once.
 *
 * A place is found from a path of keys and indexes by walking the YAML nodes: through aliases, and
 * into merged mappings (`<<`), so that a fault in an anchored block points into that block.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type LineCounter,
  type Node,
  type Pair,
} from 'yaml'

export interface Fault {
  readonly file: string
  /** From 1. */
  readonly line: number
  /** From 1. */
  readonly column: number
  readonly message: string
}

/** Keys and indexes from the root of the document to a value. */
export type Path = readonly (string | number)[]

/** A text as the library has read it. */
export interface Source {
  readonly document: Document
  readonly lines: LineCounter
}

/** Collects faults of one document; of values that nobody has written, each says its path. */
export class Faults {
  readonly list: Fault[] = []
  readonly #file: string
  readonly #source: Source | undefined

  constructor(file: string, source?: Source) {
    this.#file = file
    this.#source = source
  }

  /** Something is wrong with the value at `path`; if it is missing, with what should hold it. */
  at(path: Path, message: string): void {
    this.atOffset(this.#find(path, false), this.#placed(path, message))
  }

  /** Something is wrong with the last key of `path` itself. */
  atKey(path: Path, message: string): void {
    this.atOffset(this.#find(path, true), this.#placed(path, message))
  }

  #placed(path: Path, message: string): string {
    return this.#source !== undefined || path.length === 0
      ? message
      : `${path.join('.')}: ${message}`
  }

  atOffset(offset: number, message: string): void {
    const { line, col } = this.#source?.lines.linePos(offset) ?? { line: 1, col: 1 }
    this.list.push({
      file: this.#file,
      line: Math.max(1, line),
      column: Math.max(1, col),
      message,
    })
  }

  /** In the order of the file, each place and text once. */
  sorted(): Fault[] {
    const seen = new Set<string>()
    const once = this.list.filter((fault) => {
      const text = `${fault.line}:${fault.column} ${fault.message}`
      if (seen.has(text)) return false
      seen.add(text)
      return true
    })
    return once.sort((a, b) => a.line - b.line || a.column - b.column)
  }

  #find(path: Path, key: boolean): number {
    let node = this.#resolve(this.#source?.document.contents)
    let offset = node?.range?.[0] ?? 0
    for (const [depth, step] of path.entries()) {
      const last = depth === path.length - 1
      if (isSeq(node)) {
        node = node.items[Number(step)] as Node | undefined
        offset = node?.range?.[0] ?? offset
      } else {
        const pair = isMap(node) ? this.#pair(node.items as Pair<Node, Node>[], step) : undefined
        if (pair === undefined) return offset
        const value = pair.value ?? undefined
        offset = (last && key) || isEmpty(value) ? start(pair.key, offset) : start(value, offset)
        node = value
      }
      node = this.#resolve(node)
    }
    return offset
  }

  #resolve(node: Node | null | undefined): Node | undefined {
    return (isAlias(node) ? node.resolve(this.#source!.document) : node) ?? undefined
  }

  /** The pair with this key, own before merged. */
  #pair(items: readonly Pair<Node, Node>[], key: string | number): Pair<Node, Node> | undefined {
    const own = items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(key))
    if (own !== undefined) return own
    for (const pair of items) {
      if (!isScalar(pair.key) || pair.key.source !== '<<') continue
      const value = this.#resolve(pair.value)
      for (const source of isSeq(value) ? value.items : [value]) {
        const map = this.#resolve(source as Node | undefined)
        const found = isMap(map) ? this.#pair(map.items as Pair<Node, Node>[], key) : undefined
        if (found !== undefined) return found
      }
    }
    return undefined
  }
}

function start(node: Node | null | undefined, otherwise: number): number {
  return node?.range?.[0] ?? otherwise
}

/** A value that is not written at all: its place is that of its key. */
function isEmpty(node: Node | undefined): boolean {
  return node === undefined || (isScalar(node) && node.value === null && node.source === '')
}

/** The candidate closest to what was written, if close enough to be what was meant. */
export function nearest(written: string, candidates: readonly string[]): string | undefined {
  const limit = Math.max(1, Math.floor(written.length / 3))
  let best: string | undefined
  let bestEdits = limit + 1
  for (const candidate of candidates) {
    const edits = distance(written.toLowerCase(), candidate.toLowerCase())
    if (edits < bestEdits) {
      best = candidate
      bestEdits = edits
    }
  }
  return best
}

/** Levenshtein's distance, swaps of neighbors counted as one edit. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let edits = Math.min(
        rows[i - 1]![j]! + 1,
        row[j - 1]! + 1,
        rows[i - 1]![j - 1]! + (same ? 0 : 1),
      )
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        edits = Math.min(edits, rows[i - 2]![j - 2]! + 1)
      }
      row.push(edits)
    }
    rows.push(row)
  }
  return rows[a.length]![b.length]!
}

/** What to say about a key that is not known here. */
export function unknownKey(
  key: string,
  known: readonly string[],
  later: readonly string[] = [],
): string {
  if (later.includes(key)) return `"${key}" is not supported by this version of tapline`
  const near = nearest(key, known)
  if (near !== undefined) return `unknown key "${key}"; did you mean "${near}"?`
  return `unknown key "${key}"; known here: ${known.join(', ')}`
}
