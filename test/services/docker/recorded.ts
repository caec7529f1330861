/** The record of `tapline docker`, as it is in its file. */
import { readFileSync } from 'node:fs'

export interface Recorded {
  readonly version: number
  readonly networks: object[]
  readonly endpoints: object[]
  readonly pools: object[]
}

/** What is in the file at `path`, or in the one that takes its place once it is on the disk. */
export function recorded(path: string): Recorded {
  try {
    return JSON.parse(readFileSync(`${path}.new`, 'utf8'))
  } catch {
    return JSON.parse(readFileSync(path, 'utf8'))
  }
}
