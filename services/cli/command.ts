/**
 * What the commands share: options that find a daemon, and exit codes.
 *
 * Exit codes are a contract: 0 done, 1 failed, 2 used wrongly (arguments, a filter, a file with
 * faults). Whatever goes wrong is one line on stderr that begins `tapline:`, or the fault lines.
 */
import { type Command, CommanderError, type CommandOptions, InvalidArgumentError } from 'commander'
import { StackError } from '../../stack/errors.ts'
import { ConfigFaults } from '../api_types.ts'
import { Client } from '../client.ts'
import { findSocket } from '../sockets.ts'
import { complain } from './output.ts'

export const Exit = { Done: 0, Failed: 1, Usage: 2 } as const

/** Options of every command that asks a daemon. */
export interface DaemonOptions {
  readonly socket?: string
  readonly name?: string
  readonly json?: boolean
}

/** Ends the command with this exit code; what there is to say was said. */
export class ExitError extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`exit ${exitCode}`)
    this.exitCode = exitCode
  }
}

/** A command that asks a running daemon. */
export function daemonCommand(
  program: Command,
  usage: string,
  description: string,
  options: CommandOptions = {},
): Command {
  return program
    .command(usage, options)
    .description(description)
    .option('--name <name>', 'the daemon of this name (default: the only one that runs)')
    .option('--socket <path>', 'the daemon at this socket (default: $TAPLINE_SOCKET)')
}

/**
 * What a group of commands does without a further word: list. A word that is no command of the
 * group comes here, and is refused.
 */
export function listingCommand(group: Command, usage: string, description: string): Command {
  return readingCommand(group, usage, `${description} (default)`, { isDefault: true })
    .allowExcessArguments()
    .hook('preAction', (command) => {
      const [word] = command.args
      if (word === undefined) return
      const names = group.commands.map((one) => one.name()).join(', ')
      command.error(`error: '${group.name()}' has no command '${word}'; it has ${names}`)
    })
}

/** As {@link daemonCommand}, for those that only read. */
export function readingCommand(
  program: Command,
  usage: string,
  description: string,
  options: CommandOptions = {},
): Command {
  return daemonCommand(program, usage, description, options).option('--json', 'print JSON')
}

/**
 * The client of the daemon that is meant; `fallbackName`: where nothing says which.
 *
 * @throws StackError `daemon`, or `exists` if there are several.
 */
export async function openClient(options: DaemonOptions, fallbackName?: string): Promise<Client> {
  const { TAPLINE_SOCKET } = process.env
  const socket = options.socket ?? (options.name === undefined ? TAPLINE_SOCKET : undefined)
  return new Client(await findSocket({ socket, name: options.name ?? fallbackName }))
}

/** Say what went wrong; the exit code for it. */
export function report(error: unknown): number {
  if (error instanceof ExitError) return error.exitCode
  // Commander has printed help, version or the fault itself.
  if (error instanceof CommanderError) return error.exitCode === 0 ? Exit.Done : Exit.Usage
  if (error instanceof ConfigFaults) {
    process.stderr.write(`${error.faults.join('\n')}\n`)
    return Exit.Usage
  }
  if (error instanceof AggregateError) {
    for (const one of error.errors) complain(one instanceof Error ? one.message : String(one))
    return Exit.Failed
  }
  if (!(error instanceof StackError)) {
    complain(unforeseen(error))
    return Exit.Failed
  }
  complain(error.message)
  const usage = error.code === 'bad-argument' || error.code === 'bad-address'
  return usage ? Exit.Usage : Exit.Failed
}

/** What the system refuses (a read-only disk, too many open files) is no fault of the program's. */
function unforeseen(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'syscall' in error ? error.message : (error.stack ?? error.message)
}

/** Parser of a whole number for commander's options. */
export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`Wanted a whole number from ${min} to ${max}.`)
    }
    return value
  }
}

/** Text below a command's help: lines to try. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}\n`
}

/** Collects an option that may be given more than once. */
export function collect(value: string, before: readonly string[]): string[] {
  return [...before, value]
}
