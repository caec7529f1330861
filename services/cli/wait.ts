/**
 * `tapline wait`: returns when a daemon is ready, for scripts that started it in the background.
 *
 * A daemon that is not there yet, or is still making its networks, is asked again. Which one is
 * meant has to be clear from the beginning: several, with none named, are an error at once.
 */
import type { Command } from 'commander'
import { StackError } from '../../stack/errors.ts'
import type { DaemonInfo } from '../api_types.ts'
import { type DaemonOptions, daemonCommand, examples, integer, openClient } from './command.ts'

interface WaitOptions extends DaemonOptions {
  readonly timeout: number
}

const ASK_AGAIN_MS = 50
const TIMEOUT_DEFAULT_S = 60
const TIMEOUT_MAX_S = 86_400

export function addWait(program: Command): void {
  daemonCommand(program, 'wait', 'return when a daemon is ready, for scripts')
    .option(
      '--timeout <seconds>',
      'fail if it is not by then',
      integer(1, TIMEOUT_MAX_S),
      TIMEOUT_DEFAULT_S,
    )
    .addHelpText('after', examples('tapline up shop.yaml & tapline wait', 'tapline wait --name n1'))
    .action(wait)
}

/** @throws StackError `daemon` with what the last attempt found, when the time is over. */
async function wait({ timeout, ...options }: WaitOptions): Promise<void> {
  const limitMs = performance.now() + timeout * 1000
  for (;;) {
    const found = await ask(options)
    if (found === undefined) return
    if (performance.now() > limitMs) {
      throw new StackError('daemon', `not ready within ${timeout} s: ${found}`)
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS))
  }
}

/** What is missing for it to be ready. */
async function ask(options: DaemonOptions): Promise<string | undefined> {
  try {
    const client = await openClient(options)
    const { name, state } = await client.get<DaemonInfo>('daemon')
    return state === 'ready' ? undefined : `${name} is ${state}`
  } catch (error) {
    if (!(error instanceof StackError) || error.code !== 'daemon') throw error
    return error.message
  }
}
