/**
 * For vitest: a fabric per test, taken away after it, and what was captured kept if it fails.
 *
 * ```ts
 * const test = fabricTest({ seed: 7 })
 * test('web reaches db', async ({ fabric }) => { ... })
 * ```
 *
 * Where a test fails, its frames are in `captures/FILE-SUITES-TEST-NUMBER.pcapng`, named by sandbox
 * and interface, for Wireshark; and the seed is told that repeats it. The number is the test's
 * place in its file: two of one name have two captures.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestAPI, test } from 'vitest'
import { createFabric, type Fabric, type FabricOptions } from '../fabric/fabric.ts'

export interface FabricTestOptions extends FabricOptions {
  /** Where captures of failed tests go; false: nothing is captured. Default `captures`. */
  readonly captures?: string | false
}

export interface FabricFixture {
  /** Empty at the start of each test. */
  readonly fabric: Fabric
}

const NAME_CHARS = 160

/** vitest's `test`, with `fabric` among what a test is given. */
export function fabricTest(options: FabricTestOptions = {}): TestAPI<FabricFixture> {
  const { captures = 'captures', ...rest } = options
  return test.extend<FabricFixture>({
    fabric: async ({ task, onTestFailed }, use) => {
      const fabric = await createFabric(rest)
      const capture = captures === false ? undefined : fabric.capture()
      onTestFailed(() => {
        const seed = rest.seed ?? 1
        const where =
          capture === undefined ? '' : `, frames in ${save(captures, captureName(task))}`
        console.error(`${task.name}: failed with seed ${seed}${where}`)
      })
      const save = (folder: string | false, name: string): string => {
        const path = join(String(folder), `${name}.pcapng`)
        mkdirSync(String(folder), { recursive: true })
        capture?.save(path)
        return path
      }
      await use(fabric)
      await fabric.close()
      capture?.stop()
    },
  })
}

/** What the name of a capture is made of: part of vitest's `Test`. */
export interface CapturedTask {
  /** A hash of its file, then its place in each suite: `-1234567_0_2`. */
  readonly id: string
  readonly name: string
  readonly file: { readonly name: string }
  readonly suite?: CapturedSuite | undefined
}

interface CapturedSuite {
  readonly name: string
  readonly suite?: CapturedSuite | undefined
}

/** No other test's of the run, and of bounded length. */
export function captureName({ id, name, file, suite }: CapturedTask): string {
  const names = [name]
  for (let each = suite; each !== undefined; each = each.suite) names.unshift(each.name)
  return `${slug([file.name, ...names].join(' ')).slice(0, NAME_CHARS)}-${slug(id)}`
}

function slug(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
}
