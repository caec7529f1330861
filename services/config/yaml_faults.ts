/**
 * Faults of a file as YAML, before anything is known of what it says. The library's messages are
 * for programmers in part: what a file can easily have is said in our words.
 */
import { type Alias, type Document, visit } from 'yaml'
import type { Faults } from './faults.ts'

/** Why aliases could not be followed: one that has no anchor before it, or too many of them. */
export function aliasFault(document: Document, faults: Faults, error: unknown): void {
  let lost: Alias | undefined
  visit(document, {
    Alias: (_, alias) => {
      if (alias.resolve(document) !== undefined) return undefined
      lost = alias
      return visit.BREAK
    },
  })
  if (lost !== undefined) {
    return faults.atOffset(lost.range?.[0] ?? 0, `there is no anchor "${lost.source}" before this`)
  }
  const excessive = error instanceof Error && /alias count/.test(error.message)
  faults.atOffset(0, excessive ? 'its aliases repeat too much' : String(error))
}

/** What the parser found, in words for who wrote the file. */
export function yamlFault(error: { readonly code: string; readonly message: string }): string {
  if (error.code === 'DUPLICATE_KEY') return 'this key is already given in the same mapping'
  if (error.code === 'MULTIPLE_DOCS') return 'a second document begins here; a file has only one'
  if (/call stack/.test(error.message)) return 'nested too deeply'
  return `not YAML: ${error.message.replace(/\n.*/s, '')}`
}
