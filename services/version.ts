/** The version of this package, read from its package.json: the one place that states it. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Works from the sources and from dist/: the nearest package.json above is the package's. */
export function packageVersion(): string {
  let dir = dirname(fileURLToPath(import.meta.url))
  for (;;) {
    try {
      const text = readFileSync(join(dir, 'package.json'), 'utf8')
      return (JSON.parse(text) as { version: string }).version
    } catch (error) {
      const parent = dirname(dir)
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === dir) throw error
      dir = parent
    }
  }
}
