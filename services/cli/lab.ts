/** `tapline lab`: several nodes on one machine, to play with. The lab itself is in ../lab.ts. */
import type { Command } from 'commander'
import { examples, integer } from './command.ts'
import { onLostOutput, print } from './output.ts'

interface LabCommandOptions {
  readonly nodes: number
  readonly check?: boolean
  readonly gossip?: boolean
}

export function addLab(program: Command): void {
  program
    .command('lab')
    .description('several nodes in namespaces and an overlay network over them; needs root')
    .option('--nodes <count>', 'how many, from 2 to 32', integer(2, 32), 3)
    .option('--gossip', 'nodes tell each other where endpoints are, instead of their files')
    .option('--check', 'ping from every node to every other, and end')
    .addHelpText('after', examples('tapline lab', 'tapline lab --nodes 5', 'tapline lab --check'))
    .action(lab)
}

async function lab({ nodes, check = false, gossip = false }: LabCommandOptions): Promise<void> {
  // What it needs is loaded when it is needed: other commands start faster without.
  const { runLab } = await import('../lab.ts')
  const abort = new AbortController()
  const stop = (): void => abort.abort()
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  onLostOutput(stop)
  try {
    const { signal } = abort
    await runLab({ nodes, check, gossip, signal, print: (text) => print(text) })
  } finally {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
}
