/**
 * Style is a test. Checks what a linter does not: layers, clocks, native code, sizes, words.
 * A budget that a file exceeds for a reason is listed here with the reason.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root })
  .toString()
  .split('\n')
const files = tracked.filter((name) => /^(stack|services|bench|test)\/.*\.ts$/.test(name))

/** Lower may not import higher. */
const LAYERS = [
  'stack',
  'stack/native',
  'stack/eth',
  'stack/arp',
  'stack/ip',
  'stack/udp',
  'stack/vxlan',
  'services',
  'bench',
  'test',
]

const LINES_MAX = 350
const COLUMNS_MAX = 100
const HEADER_LINES_MAX = 80

/** Files over {@link LINES_MAX}, and why. */
const LONG: Readonly<Record<string, string>> = {}

/** What users import: see "exports" of package.json. */
const PUBLIC = ['services/fabric/library.ts', 'services/testing/vitest.ts']

/** Header modules: pure accessors of one protocol header. */
const HEADERS = /^stack\/(eth\/frame|arp\/message|ip\/(ipv6|icmp|tcp|udp)|vxlan\/header)\.ts$/

const UNFINISHED = /\b(TODO|FIXME|XXX)\b|\.only\(|\.todo\(/

function layerOf(path: string): number {
  const [top, folder] = path.split('/')
  return Math.max(LAYERS.indexOf(`${top}`), LAYERS.indexOf(`${top}/${folder}`))
}

function importsOf(text: string): string[] {
  return [...text.matchAll(/from '([^']+)'/g)].map(([, target]) => target!)
}

/** `views_*.ts` as an expression: a star stands for any letters. */
function asPattern(name: string): RegExp {
  return new RegExp(`^${name.replaceAll('.', '\\.').replaceAll('*', '.*')}$`)
}

/** Names in a README, of files or patterns of them. */
function said(readme: string): string[] {
  const text = readFileSync(join(root, readme), 'utf8')
  return Array.from(text.matchAll(/`([\w*./]+)`/g), ([, name]) => name!)
}

describe('tidy', () => {
  it.each(files)('%s', (file) => {
    const text = readFileSync(join(root, file), 'utf8')
    const lines = text.split('\n')
    if (!file.startsWith('test/')) {
      expect(lines.length, 'lines').toBeLessThanOrEqual(file in LONG ? 1000 : LINES_MAX)
      expect(text, 'a theory of operation first').toMatch(/^(#!.*\n)?\/\*\*/)
    }
    if (HEADERS.test(file)) {
      expect(lines.length, 'lines of a header').toBeLessThanOrEqual(HEADER_LINES_MAX)
    }
    for (const [i, line] of lines.entries()) {
      expect(line.length, `columns of line ${i + 1}`).toBeLessThanOrEqual(COLUMNS_MAX)
    }
    if (file !== 'test/tidy.test.ts') expect(text).not.toMatch(UNFINISHED)
    if (file.startsWith('stack/') && file !== 'stack/clock.ts') {
      const ambient = /Date\.now|performance\.now|Math\.random|setTimeout|setInterval|setImmediate/
      expect(text, 'ambient time or chance').not.toMatch(ambient)
    }
    for (const target of importsOf(text)) {
      if (target === 'koffi') expect(file).toBe('stack/native/libc.ts')
      if (!target.startsWith('.')) continue
      const path = join(dirname(file), target)
      expect(layerOf(path), `imports ${path}`).toBeLessThanOrEqual(layerOf(file))
    }
  })

  it('exports no value that only its own file uses', () => {
    const texts = new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]))
    const used = new Set<string>()
    for (const [file, text] of texts) {
      for (const [, names, target] of text.matchAll(/\{([^{}]*)\} from '(\.[^']+)'/g)) {
        const path = join(dirname(file), target!)
        for (const name of names!.match(/\w+/g) ?? []) used.add(`${path} ${name}`)
      }
      // Of what is imported as a whole, all is used.
      for (const [, target] of text.matchAll(/(?:\* as \w+ from |import\()'(\.[^']+)'/g)) {
        used.add(join(dirname(file), target!))
      }
    }
    const unused = [...texts].flatMap(([file, text]) => {
      if (PUBLIC.includes(file) || used.has(file)) return []
      const names = text.matchAll(/^export (?:async )?(?:function\*?|const|class) (\w+)/gm)
      const lone = Array.from(names, ([, name]) => `${file} ${name}`)
      return lone.filter((name) => !used.has(name))
    })
    expect(unused).toEqual([])
  })

  it('has a source for every way into the package', () => {
    const { bin, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    const entries = JSON.stringify([bin, exports]).match(/dist\/[^"]+/g)!
    const sources = entries.map((entry) => entry.replace(/^dist\/(.*?)(\.d\.ts|\.js)$/, '$1.ts'))
    expect(sources.length).toBeGreaterThan(4)
    expect(sources.filter((source) => !files.includes(source))).toEqual([])
  })

  it('has READMEs that name no file that is not there', () => {
    const readmes = tracked.filter((name) => /^(stack|services)\/.*README\.md$/.test(name))
    const lost = readmes.flatMap((readme) =>
      said(readme).filter((name) => {
        const path = new RegExp(`(^|/)${name.replaceAll('../', '').replaceAll('*', '\\w*')}$`)
        return name.endsWith('.ts') && !files.some((file) => path.test(file))
      }),
    )
    expect(lost).toEqual([])
  })

  it('has READMEs that say what each file is', () => {
    const unsaid = files.flatMap((file) => {
      const [top, ...path] = file.split('/')
      if (top !== 'stack' && top !== 'services') return []
      // Below services/ a folder is told of as one.
      const name = top === 'services' && path.length > 1 ? `${path[0]}/` : basename(file)
      const names = said(join(top === 'stack' ? dirname(file) : top, 'README.md'))
      return names.some((pattern) => asPattern(pattern).test(name)) ? [] : [`${file} as ${name}`]
    })
    expect(unsaid).toEqual([])
  })

  it('has no import cycles', () => {
    const graph = new Map(
      files.map((file) => {
        const text = readFileSync(join(root, file), 'utf8')
        const values = text.replaceAll(/import type [^;]*? from '[^']+'/g, '')
        const relative = importsOf(values).filter((target) => target.startsWith('.'))
        return [file, relative.map((target) => join(dirname(file), target))] as const
      }),
    )
    const done = new Set<string>()
    const visit = (file: string, path: readonly string[]): void => {
      expect(path, 'a cycle').not.toContain(file)
      if (done.has(file)) return
      for (const next of graph.get(file) ?? []) visit(next, [...path, file])
      done.add(file)
    }
    for (const file of files) visit(file, [])
  })
})
