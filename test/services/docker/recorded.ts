/** The record of `tapline docker`, as it is in its file. */
import { readFileSync } from 'node:fs'

export interface Recorded {
  readonly version: number
  readonly networks: object[]
  readonly endpoints: object[]
  readonly pools: object[]
}

/** What the last line of the file at `path` says. */
export function recorded(path: string): Recorded {
  return JSON.parse(readFileSync(path, 'utf8').trimEnd().split('\n').at(-1)!)
}
