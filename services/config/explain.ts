/** What zod finds wrong, in the words of whoever writes a file. */
import type { z } from 'zod'
import { nearest } from './faults.ts'

export function explain(issue: z.core.$ZodIssue): string {
  const key = String(issue.path.at(-1) ?? '')
  switch (issue.code) {
    case 'invalid_type': {
      if (issue.input === undefined) return `"${key}" is missing`
      const hint = issue.expected === 'string' ? '; put it in quotes' : ''
      return `expected ${noun(issue.expected)}, got ${describe(issue.input)}${hint}`
    }
    case 'invalid_union': {
      if (issue.input === undefined) return `"${key}" is missing`
      const kinds = issue.errors
        .flat()
        .flatMap((e) => (e.code === 'invalid_type' ? e.expected : []))
      return `expected ${kinds.map(noun).join(' or ')}, got ${describe(issue.input)}`
    }
    case 'too_small': {
      if (issue.origin === 'string') return `"${key}" is empty`
      return `expected at least ${issue.minimum}, got ${describe(issue.input)}`
    }
    case 'too_big':
      return `expected at most ${issue.maximum}, got ${describe(issue.input)}`
    case 'invalid_value': {
      if (issue.input === undefined) return `"${key}" is missing`
      const values = issue.values.map(String)
      if (issue.input === null && values.includes('null')) {
        return 'an empty value; write "null" in quotes for the null driver, or leave the key out'
      }
      const near = nearest(String(issue.input), values)
      const hint = near === undefined ? '' : `; did you mean "${near}"?`
      return `${describe(issue.input)} is not one of ${values.join(', ')}${hint}`
    }
    default:
      return issue.message
  }
}

function noun(type: string): string {
  if (type === 'object' || type === 'record') return 'a mapping'
  if (type === 'array') return 'a list'
  if (type === 'boolean') return 'true or false'
  return `a ${type}`
}

/** A value as it was written, for a message. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a mapping'
  return typeof value === 'string' ? `"${value}"` : String(value)
}
