/**
 * `tapline bench`: runs the benchmarks of this package in a process of their own, so that nothing
 * of the command line is in what they measure. Arguments are theirs.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { ExitError, examples } from './command.ts'

const BENCH: string = fileURLToPath(new URL('../../bench/main.js', import.meta.url))

export function addBench(program: Command): void {
  program
    .command('bench [args...]')
    .description('measure against the kernel and other switches (see bench --help)')
    .allowUnknownOption()
    .helpOption(false)
    .addHelpText('after', examples('tapline bench --quick'))
    .action(bench)
}

async function bench(args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [BENCH, ...args], { stdio: 'inherit' })
  // Ctrl-C is the child's: it has namespaces to remove, and we end when it does.
  const ignore = (): void => undefined
  process.on('SIGINT', ignore)
  const forward = (): void => void child.kill('SIGTERM')
  process.on('SIGTERM', forward)
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (exitCode) => resolve(exitCode ?? 1))
  })
  process.off('SIGINT', ignore)
  process.off('SIGTERM', forward)
  if (code !== 0) throw new ExitError(code)
}
