/**
 * What must not outlive its process though nobody took it away: of a fabric that was open when the
 * process exited. What a signal ends does not get here: see removeOrphans of made_netns.ts.
 */
import type { Cancel } from '../../stack/clock.ts'

const ends = new Set<() => void>()
let listening = false

/** `end` runs within the exit of the process, and so waits for nothing. */
export function atExit(end: () => void): Cancel {
  if (!listening) process.on('exit', endAll)
  listening = true
  ends.add(end)
  return () => ends.delete(end)
}

function endAll(): void {
  for (const end of ends) end()
}
