/**
 * What must not outlive its process though nobody took it away: of a fabric that was open when the
 * process exited. What a signal ends does not get here: see removeOrphans of made_netns.ts.
 */
import type { Cancel } from '../../stack/clock.ts'
import { attemptEach } from '../attempt_all.ts'

const ends = new Set<() => void>()
let listening = false

/** `end` runs within the exit of the process, and so waits for nothing. */
export function atExit(end: () => void): Cancel {
  if (!listening) process.on('exit', endAll)
  listening = true
  ends.add(end)
  return () => ends.delete(end)
}

/** The latest first, so programs before the fabric that they run in; and all, whatever fails. */
function endAll(): void {
  attemptEach([...ends].reverse())
}
