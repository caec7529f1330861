/**
 * Whom a query is for: `node` filters list names, `tag` filters match a tag with an expression.
 *
 * Expressions come from the network, and JavaScript's engine may take forever for some where Go's
 * does not. So only simple ones are taken: bounded in length, no group with a quantifier, no
 * reference back, and at most two unbounded repetitions. A query with another is not answered.
 */
import { Fields } from './fields.ts'
import { Reader, textOf } from './msgpack.ts'
import { encode } from './msgpack_writer.ts'
import type { Tags } from './tags.ts'

const FilterType = { Node: 0, Tag: 1 } as const
const EXPRESSION_MAX = 128
const REPETITIONS_MAX = 2

/** A filter for these members. */
export function nodeFilter(names: readonly string[]): Uint8Array {
  const list = encode(names)
  const filter = new Uint8Array(1 + list.length)
  filter[0] = FilterType.Node
  filter.set(list, 1)
  return filter
}

/** True if all of them take the member. */
export function passes(filters: readonly Uint8Array[], name: string, tags: Tags): boolean {
  return filters.every((filter) => {
    const value = new Reader(filter, 1).next()
    if (filter[0] === FilterType.Node) {
      return Array.isArray(value) && value.some((raw) => isText(raw, name))
    }
    if (filter[0] !== FilterType.Tag) return false
    const fields = new Fields(value)
    const expression = toExpression(fields.text('Expr'))
    return !fields.bad && expression?.test(tags[fields.text('Tag')] ?? '') === true
  })
}

function isText(raw: unknown, text: string): boolean {
  return raw instanceof Uint8Array && textOf(raw) === text
}

function toExpression(text: string): RegExp | undefined {
  const repetitions = text.match(/[*+]|\{\d*,?\d*\}/g)?.length ?? 0
  const isHard = /\)[*+?{]|\\[1-9k]|\(\?/.test(text)
  if (text.length > EXPRESSION_MAX || repetitions > REPETITIONS_MAX || isHard) return undefined
  try {
    return new RegExp(text, 'u')
  } catch {
    return undefined
  }
}
