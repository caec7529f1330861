/** The error of a name that nothing has: with the name that was meant, or those there are. */
import { StackError } from '../stack/errors.ts'
import { nearest } from './config/faults.ts'

/** Names that an error lists; of more, only the nearest is told. */
const LISTED_MAX = 12

/** `what`: `no network "frnt"`; `known`: names of what there is of the kind. */
export function notFound(what: string, name: string, known: Iterable<string>): StackError {
  return new StackError('not-found', `${what} "${name}"${hint(name, [...new Set(known)])}`)
}

function hint(name: string, known: readonly string[]): string {
  const near = nearest(name, known)
  if (near !== undefined) return `; did you mean "${near}"?`
  if (known.length === 0) return '; there are none'
  return known.length > LISTED_MAX ? '' : `; there are: ${known.join(', ')}`
}
