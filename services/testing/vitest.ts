/**
 * For vitest: a fabric per test, taken away after it, and what was captured kept if it fails.
 *
 * ```ts
 * const test = fabricTest({ seed: 7 })
 * test('web reaches db', async ({ fabric }) => { ... })
 * ```
 *
 * Where a test fails, its frames are in `captures/TEST-NAME.pcapng`, named by sandbox and
 * interface, for Wireshark; and the seed is told that repeats it.
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

const NAME_CHARS = 80

/** vitest's `test`, with `fabric` among what a test is given. */
export function fabricTest(options: FabricTestOptions = {}): TestAPI<FabricFixture> {
  const { captures = 'captures', ...rest } = options
  return test.extend<FabricFixture>({
    fabric: async ({ task, onTestFailed }, use) => {
      const fabric = await createFabric(rest)
      const capture = captures === false ? undefined : fabric.capture()
      onTestFailed(() => {
        const seed = rest.seed ?? 1
        const where = capture === undefined ? '' : `, frames in ${save(captures, task.name)}`
        console.error(`${task.name}: failed with seed ${seed}${where}`)
      })
      const save = (folder: string | false, name: string): string => {
        const path = join(String(folder), `${slug(name)}.pcapng`)
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

function slug(name: string): string {
  const plain = name.toLowerCase().replace(/[^a-z0-9]+/g, '-')
  return plain.replace(/^-|-$/g, '').slice(0, NAME_CHARS)
}
