/**
 * The documentation says what there is: each page is reached, each link leads somewhere, and each
 * command, path of the API and option of a file is on its page. (Drop reasons: stack/drop.test.ts;
 * labs: netns/labs.test.ts.)
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import { buildProgram } from '../services/cli/program.ts'

const root = join(import.meta.dirname, '..')
const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root })
  .toString()
  .split('\n')
const pages = tracked.filter((name) => name.endsWith('.md'))

function read(name: string): string {
  return readFileSync(join(root, name), 'utf8')
}

/** Text of a page without its blocks of code. */
function prose(name: string): string {
  return read(name).replaceAll(/^```.*?^```/gms, '')
}

/** What links name headings by, as GitHub makes it. */
function anchors(name: string): string[] {
  const headings = prose(name).matchAll(/^#+ (.*)$/gm)
  return Array.from(headings, ([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

function links(name: string): string[] {
  return Array.from(prose(name).matchAll(/\]\(([^)]+)\)/g), ([, target]) => target!)
}

/** Those of `names` that a page's `text` does not have behind a backquote, each whole. */
function missing(names: readonly string[], text: string): string[] {
  return names.filter(
    (name) => !new RegExp(`\`${name.replaceAll('.', '\\.')}(?![\\w.])`).test(text),
  )
}

it('has no dead links', () => {
  const dead = pages.flatMap((page) =>
    links(page).filter((target) => {
      if (/^https?:/.test(target)) return false
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : join(dirname(page), path)
      if (!existsSync(join(root, file))) return true
      return anchor !== undefined && !anchors(file).includes(anchor)
    }),
  )
  expect(dead).toEqual([])
})

it('docs/README.md leads to every page', () => {
  const reached = links('docs/README.md').map((target) => join('docs', target))
  const own = pages.filter((page) => /^docs\/[^/]+\.md$/.test(page) && page !== 'docs/README.md')
  expect(own.filter((page) => !reached.includes(page))).toEqual([])
})

it('docs/cli.md has every command', () => {
  const text = read('docs/cli.md')
  const commands = buildProgram().commands.map((command) => command.name())
  expect(missing(commands, text)).toEqual([])
})

it('docs/cli.md has every path of the API', () => {
  const text = read('docs/cli.md')
  const sources = tracked.filter((name) => /^services\/api\w*\.ts$/.test(name))
  const paths = sources.flatMap((name) =>
    Array.from(read(name).matchAll(/^ {2}\[?['`](?:GET|POST) (\/v1[\w/]+)/gm), ([, path]) => path!),
  )
  expect(paths.length).toBeGreaterThan(30)
  expect(paths.filter((path) => !text.includes(path))).toEqual([])
})

it('docs/ has every option that a file may have under driver_opts', () => {
  const text = pages
    .filter((page) => page.startsWith('docs/'))
    .map(read)
    .join()
  const sources = tracked.filter((name) => /^services\/config\/\w+\.ts$/.test(name))
  const keys = sources.flatMap((name) =>
    Array.from(
      read(name).matchAll(/'((?:tapline|com\.docker\.network)\.[\w.]+)'/g),
      ([, key]) => key!,
    ),
  )
  expect(keys.length).toBeGreaterThan(30)
  expect(missing(keys, text)).toEqual([])
})
