/** The examples in the documentation are the ones that are tested. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')

it('shows the example as it is run', () => {
  const example = readFileSync(join(import.meta.dirname, 'example.test.ts'), 'utf8')
  const page = readFileSync(join(root, 'docs/library.md'), 'utf8')
  expect(page).toContain(example.replace('../../services/fabric/library.ts', 'tapline'))
})

it.each(['shop.ts', 'trials.ts', 'shop.test.ts'])('shows %s of the worked example', (name) => {
  const file = readFileSync(join(root, 'test/example', name), 'utf8')
  const page = readFileSync(join(root, 'docs/testing.md'), 'utf8')
  const shown = file
    .replace('../../services/fabric/library.ts', 'tapline')
    .replace('../../services/testing/vitest.ts', 'tapline/vitest')
  expect(page).toContain(shown)
})
