/** The process of a CNI plugin: its environment and stdin in, a result on stdout. */
import { readFileSync } from 'node:fs'
import { runPlugin } from './plugin.ts'

/** True if this process is a plugin: started by its name, as runtimes do, or as `tapline cni`. */
export function isPlugin(args: readonly string[]): boolean {
  if (process.env['CNI_COMMAND'] === undefined) return false
  return args.length === 0 || (args.length === 1 && args[0] === 'cni')
}

/** The exit code. */
export async function main(): Promise<number> {
  const { exitCode, output } = await runPlugin(process.env, readFileSync(0, 'utf8'))
  if (output !== undefined) process.stdout.write(`${JSON.stringify(output, undefined, 2)}\n`)
  return exitCode
}
