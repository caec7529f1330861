/** `tapline demo`: what `npm start` runs. The demo itself is in ../demo.ts. */
import { type Command, Option } from 'commander'
import type { DemoMode } from '../demo.ts'
import { ExitError, examples } from './command.ts'
import { onLostOutput } from './output.ts'

interface DemoCommandOptions {
  readonly mode?: DemoMode
  readonly keep?: boolean
}

export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('show the main job in about ten seconds, and clean up')
    .addOption(
      new Option(
        '--mode <mode>',
        'how real it is; left out: as real as this machine allows',
      ).choices(['tap', 'userns', 'memory']),
    )
    .option('--keep', 'leave it running until Ctrl-C')
    .addHelpText(
      'after',
      examples('tapline demo', 'tapline demo --keep', 'tapline demo --mode memory'),
    )
    .action(runDemo)
}

async function runDemo({ mode, keep = false }: DemoCommandOptions): Promise<void> {
  // What it needs is loaded when it is needed: other commands start faster without.
  const { demo } = await import('../demo.ts')
  const abort = new AbortController()
  const stop = (): void => abort.abort()
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  onLostOutput(stop)
  try {
    const code = await demo({ mode, keep, signal: abort.signal })
    if (code !== 0) throw new ExitError(code)
  } finally {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
}
