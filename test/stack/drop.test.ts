import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { DROP_HELP, DROP_NAMES, DropReason } from '../../stack/drop.ts'

it('docs/drops.md lists every reason with its meaning', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/drops.md'), 'utf8')
  const rows = [...text.matchAll(/^\| `([\w-]+)` \| (.*) \|$/gm)].map(([, name, help]) => [
    name,
    help,
  ])
  expect(rows).toEqual(DROP_NAMES.map((name, i) => [name, DROP_HELP[i]]))
})

it('names and numbers agree', () => {
  expect(DROP_NAMES[DropReason.PoolEmpty]).toBe('pool-empty')
  expect(Object.keys(DropReason)).toHaveLength(DROP_NAMES.length)
  expect(new Set(DROP_NAMES).size).toBe(DROP_NAMES.length)
})
