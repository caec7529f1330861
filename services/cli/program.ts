/**
 * The commands of `tapline`, put together. Most of them ask a running daemon over its socket, `up`
 * is that daemon, and `check` needs none. Each is in a file beside this one.
 */
import { Command } from 'commander'
import { packageVersion } from '../version.ts'
import { addApply, addCheck } from './apply.ts'
import { addBench } from './bench.ts'
import { addCapture } from './capture.ts'
import { addCni } from './cni.ts'
import { examples, report } from './command.ts'
import { addConntrack } from './conntrack.ts'
import { addDemo } from './demo.ts'
import { addDns } from './dns.ts'
import { addDocker } from './docker.ts'
import { addEvents } from './events.ts'
import { addGossip } from './gossip.ts'
import { addLab } from './lab.ts'
import { addLeases } from './leases.ts'
import { addPeers } from './overlay.ts'
import { addPorts } from './ports.ts'
import { addServices } from './services.ts'
import { addTop } from './top.ts'
import { addTrace } from './trace.ts'
import { addUp } from './up.ts'
import { addViews } from './views.ts'
import { addWait } from './wait.ts'

/** Run one command to its end. `args` are those after the program's name; the exit code. */
export async function runCommand(args: readonly string[]): Promise<number> {
  try {
    await buildProgram().parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    return report(error)
  }
}

/** Faults of usage as all others are said: one line, with who says it. */
function asComplaint(text: string): string {
  return text.replace(/^error: /, 'tapline: ').replace(/\n\(Did (.*)\)/, '; did $1')
}

export function buildProgram(): Command {
  const program = new Command('tapline')
    .description('A container network in one process: bridge, proxy ARP and router over TAPs.')
    .version(packageVersion())
    .showHelpAfterError('(--help says more)')
    .addHelpText(
      'after',
      `${examples(
        'tapline demo                     see it work',
        'tapline up shop.yaml             run the networks of a file',
        'tapline ls                       what runs',
        'tapline trace --from web1 --to 10.2.0.12 --proto tcp --dport 80',
      )}
Exit codes: 0 done, 1 failed, 2 used wrongly. All that reads takes --json.`,
    )
    .configureOutput({ outputError: (text, write) => write(asComplaint(text)) })
    // Commands inherit it: faults of usage are thrown here and end with exit code 2.
    .exitOverride()
  for (const add of [addUp, addWait, addCheck, addApply, addViews, addTop, addCapture, addTrace]) {
    add(program)
  }
  for (const add of [
    addLeases,
    addPeers,
    addPorts,
    addServices,
    addDns,
    addConntrack,
    addEvents,
    addGossip,
    addDemo,
    addLab,
    addBench,
  ]) {
    add(program)
  }
  addCni(program)
  addDocker(program)
  return program
}
