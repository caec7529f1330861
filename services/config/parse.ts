/**
 * From the text of a configuration file to a {@link Config}, or to every fault in it.
 *
 * ```text
 *   text -> YAML nodes -> plain values -> entries (schema.ts, options.ts) -> Config -> check.ts
 *             |                              |                                          |
 *             +------------ faults ----------+------------------------------------------+
 * ```
 *
 * Reading does nothing to the machine, and a file with a fault yields no Config at all. Programs
 * hand in plain values ({@link parseValues}).
 */
import { isMap, LineCounter, parseDocument } from 'yaml'
import { StackError } from '../../stack/errors.ts'
import { type Fault, Faults } from './faults.ts'
import type { Config } from './model.ts'
import { Reader, type Root } from './reader.ts'
import { aliasFault, yamlFault } from './yaml_faults.ts'

/** Larger than any configuration that the limits on devices allow. */
export const TEXT_BYTES_MAX: number = 8 << 20
const TOO_LARGE = `larger than ${TEXT_BYTES_MAX} octets`

/** One line, as compilers write it: editors and CI systems find the place by it. */
export function formatFault({ file, line, column, message }: Fault): string {
  return `${file}:${line}:${column}: ${message}`
}

/** `config` is there exactly if `faults` is empty. */
export interface Parsed {
  readonly config?: Config
  readonly faults: Fault[]
}

/** Read a file's text. */
export function parseConfig(text: string, file: string): Parsed {
  if (Buffer.byteLength(text) > TEXT_BYTES_MAX) {
    return { faults: [{ file, line: 1, column: 1, message: TOO_LARGE }] }
  }
  const lines = new LineCounter()
  const document = parseDocument(text, {
    lineCounter: lines,
    merge: true,
    prettyErrors: false,
    logLevel: 'error',
  })
  const faults = new Faults(file, { document, lines })
  for (const fault of [...document.errors, ...document.warnings]) {
    faults.atOffset(fault.pos[0], yamlFault(fault))
  }
  if (faults.list.length > 0) return { faults: faults.sorted() }
  let root: unknown
  try {
    root = document.toJS()
  } catch (error) {
    // Unknown or endlessly nested aliases.
    aliasFault(document, faults, error)
    return { faults: faults.sorted() }
  }
  if (!isMap(document.contents)) {
    const is = document.contents === null ? 'empty' : 'not a mapping'
    faults.at([], `the file is ${is}; it should begin with "name: ..."`)
    return { faults: faults.sorted() }
  }
  return read(root as Root, faults)
}

/**
 * The same of what a program has made: plain values as JSON has them. Left out is as good as
 * undefined. @throws StackError `bad-config` with every fault.
 */
export function parseValues(values: object, name: string): Config {
  const text = JSON.stringify(values)
  if (Buffer.byteLength(text) > TEXT_BYTES_MAX) throw new StackError('bad-config', TOO_LARGE)
  const { config, faults } = read(JSON.parse(text) as Root, new Faults(name))
  if (config !== undefined) return config
  throw new StackError('bad-config', faults.map(({ message }) => message).join('; '))
}

function read(root: Root, faults: Faults): Parsed {
  const config = new Reader(root, faults).read()
  return faults.list.length > 0 ? { faults: faults.sorted() } : { config, faults: [] }
}
