/** Configuration files as commands and the daemon take them: a Config, or all the faults. */
import { readFileSync } from 'node:fs'
import { ConfigFaults } from './api_types.ts'
import type { Config } from './config/model.ts'
import { formatFault, type Parsed, parseConfig } from './config/parse.ts'

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

/** Read a file, `-` for stdin. @throws ConfigFaults if it cannot be read. */
export function readConfigText(path: string): ConfigText {
  const file = path === '-' ? '<stdin>' : path
  try {
    return { text: readFileSync(path === '-' ? 0 : path, 'utf8'), file }
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    throw new ConfigFaults([`${file}: ${UNREADABLE[code] ?? message}`])
  }
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
