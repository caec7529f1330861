/** Durations as Compose writes them: `2s`, `500ms`, `1m30s`, `3h`. */
import { StackError } from '../../stack/errors.ts'

const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 }

/** In milliseconds. @throws StackError `bad-config` that says what would be right. */
export function parseDuration(written: string): number {
  const parts = [...written.matchAll(/(\d{1,9}(?:\.\d{1,6})?)(ms|h|m|s)/gy)]
  const read = parts.reduce((length, [part]) => length + part.length, 0)
  if (parts.length === 0 || read !== written.length) {
    const message = `"${written}" is not a duration, such as "2s", "500ms" or "1m30s"`
    throw new StackError('bad-config', message)
  }
  return parts.reduce((total, [, count, unit]) => total + Number(count) * UNIT_MS[unit!]!, 0)
}
