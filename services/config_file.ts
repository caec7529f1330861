/** Configuration files as commands and the daemon take them: a Config, or all the faults. */
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { ConfigFaults } from './api_types.ts'
import type { Config } from './config/model.ts'
import { formatFault, type Parsed, parseConfig, TEXT_BYTES_MAX } from './config/parse.ts'

export interface ConfigText {
  readonly text: string
  /** What faults call the file. */
  readonly file: string
}

/** Why a file cannot be read, by the system's code. */
const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EISDIR: 'this is a folder, and a file is wanted',
  EACCES: 'permission denied',
}

const PIECE_BYTES = 64 * 1024

/**
 * Read a file, `-` for stdin, and no more of it than shows that it is too large.
 * @throws ConfigFaults if it cannot be read.
 */
export function readConfigText(path: string): ConfigText {
  const file = path === '-' ? '<stdin>' : path
  try {
    return { text: path === '-' ? readText(0) : readFile(path), file }
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    throw new ConfigFaults([`${file}: ${UNREADABLE[code] ?? message}`])
  }
}

/** As {@link readConfigText}, where frames would wait: what is no file might hold them for ever. */
export function rereadConfigText(path: string): ConfigText {
  const there = statSync(path, { throwIfNoEntry: false })
  if (there === undefined || there.isFile() || there.isDirectory()) return readConfigText(path)
  throw new ConfigFaults([`${path}: this is no file, which a daemon that runs needs`])
}

function readFile(path: string): string {
  const fd = openSync(path, 'r')
  try {
    return readText(fd)
  } finally {
    closeSync(fd)
  }
}

function readText(fd: number): string {
  const pieces: Uint8Array[] = []
  const piece = Buffer.alloc(PIECE_BYTES)
  for (let left = TEXT_BYTES_MAX + 1; left > 0; ) {
    const count = readSync(fd, piece, 0, Math.min(left, PIECE_BYTES), null)
    if (count === 0) break
    pieces.push(Buffer.from(piece.subarray(0, count)))
    left -= count
  }
  return Buffer.concat(pieces).toString()
}

/** @throws ConfigFaults */
export function toConfig({ text, file }: ConfigText): Config {
  return configOf(parseConfig(text, file))
}

/** @throws ConfigFaults */
export function configOf({ config, faults }: Parsed): Config {
  if (config === undefined) throw new ConfigFaults(faults.map(formatFault))
  return config
}
