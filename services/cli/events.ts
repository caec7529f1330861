/** `tapline events`: the log of a daemon from now on, wherever its stderr goes. */
import type { Command } from 'commander'
import { type DaemonOptions, examples, openClient, readingCommand } from './command.ts'
import { linesOf } from './lines.ts'
import { prettyLine } from './log_line.ts'

export function addEvents(program: Command): void {
  readingCommand(program, 'events', 'follow what happens: joins, losses, loops, applies')
    .addHelpText('after', examples('tapline events', 'tapline events --json | jq .msg'))
    .action(events)
}

async function events(options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const stream = await client.stream('events')
  for await (const line of linesOf(stream)) {
    process.stdout.write(options.json ? `${line}\n` : prettyLine(line, process.stdout))
  }
}
