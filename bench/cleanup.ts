/**
 * What the benchmark made and must take away again, whatever happens: at the end, after an
 * error, and on SIGINT, SIGTERM or SIGHUP.
 *
 * Each thing made registers how it is undone at once after it was made. Undoing runs in reverse
 * order and synchronously, so that it also works from the `exit` event, where nothing
 * asynchronous runs any more. Every undoing is tried; failures are told and do not stop the rest.
 */

export type Undo = () => void

const undos: Undo[] = []

/** Register `undo` for the end of the process. The result takes the registration back. */
export function atExit(undo: Undo): Undo {
  undos.push(undo)
  return () => {
    const index = undos.indexOf(undo)
    if (index >= 0) undos.splice(index, 1)
  }
}

/** Undo everything that is left, the latest first. */
export function cleanUp(): void {
  for (let undo = undos.pop(); undo !== undefined; undo = undos.pop()) {
    try {
      undo()
    } catch (error) {
      process.stderr.write(`bench: clean-up: ${error instanceof Error ? error.message : error}\n`)
    }
  }
}

const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const

/** From now on nothing stays behind when the process ends by itself or by a polite signal. */
export function cleanUpAtExit(): void {
  process.on('exit', cleanUp)
  for (const [signal, number] of Object.entries(SIGNAL_NUMBERS)) {
    process.on(signal, () => process.exit(128 + number))
  }
}
