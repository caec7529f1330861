/**
 * `tapline docker`: the network and IPAM driver of the Docker daemon on this host.
 *
 * ```text
 *   stdout   one line: ready docker: ...        when Docker may ask
 *   stderr   the log: under systemd, its journal
 *   SIGINT, SIGTERM   end, leaving containers their interfaces for the next start; exit 0
 * ```
 */
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { DockerDaemon } from '../docker/daemon.ts'
import { Events } from '../events.ts'
import { socketPath } from '../sockets.ts'
import { examples } from './command.ts'
import { onLostOutput } from './output.ts'
import { announceReady } from './ready.ts'
import { addRunningOptions, catchSignals, limitsOf, type RunningOptions, slots } from './running.ts'
import { counted } from './table.ts'

interface DockerOptions extends RunningOptions {
  readonly socket: string
  readonly state: string
  readonly apiSocket?: string
  readonly name: string
  readonly uplink: 'host' | 'none'
}

/** Docker names the plugin after its socket. */
const PLUGIN_SOCKET = '/run/docker/plugins/tapline.sock'
const STATE_FILE = '/var/lib/tapline/docker.json'

export function addDocker(program: Command): void {
  const command = program
    .command('docker')
    .description('be the network driver of the Docker daemon on this host until interrupted')
    .option('--socket <path>', 'where Docker finds the plugin, by its name', PLUGIN_SOCKET)
    .option('--state <file>', 'what Docker has asked for, kept over restarts', STATE_FILE)
    .option('--name <name>', 'of the daemon, for other commands', 'docker')
    .option('--api-socket <path>', 'where the API listens (default: /run/tapline/NAME.sock)')
    .addOption(
      new Option('--uplink <way>', 'how networks reach the outside; host: needs nft')
        .choices(['host', 'none'])
        .default('host'),
    )
  addRunningOptions(command)
    .addHelpText(
      'after',
      examples(
        'tapline docker &',
        'docker network create -d tapline --ipam-driver tapline --subnet 10.77.0.0/16 front',
        'docker run --network front -p 8080:80 nginx',
        'tapline ls --name docker',
      ),
    )
    .action(docker)
}

async function docker(options: DockerOptions): Promise<void> {
  onLostOutput(() => undefined)
  const signals = catchSignals()
  const [{ DockerDaemon }, { Runtime }, { openLog }] = await Promise.all([
    import('../docker/daemon.ts'),
    import('../runtime.ts'),
    import('./log.ts'),
  ])
  const events = new Events()
  const { name, uplink, logLevel: level, logFormat: format } = options
  const { log, flush } = openLog({ name, level, format, events })
  try {
    const runtime = new Runtime({ ...options, ...slots(options.pool) })
    log.info({ engine: runtime.describe }, 'starting')
    const daemon = new DockerDaemon({
      runtime,
      log,
      events,
      name,
      uplink,
      pluginPath: resolve(options.socket),
      statePath: resolve(options.state),
      socketPath: resolve(options.apiSocket ?? socketPath(name)),
      limits: limitsOf(options),
    })
    await run(daemon, signals.asked, resolve(options.socket))
    log.info('stopped')
  } finally {
    signals.release()
    await flush()
  }
}

async function run(daemon: DockerDaemon, asked: Promise<void>, socket: string): Promise<void> {
  try {
    const started = daemon.start().then(() => announceReady(readyText(daemon, socket)))
    await Promise.race([started, asked])
    await asked
  } finally {
    await daemon.close()
  }
}

function readyText(daemon: DockerDaemon, socket: string): string {
  const { name, links, pid } = daemon.info()
  const { networks, sandboxes } = daemon.controller.ls()
  const made = [counted(networks.length, 'network'), counted(sandboxes.length, 'endpoint')]
  return `${name}: ${made.join(', ')}, ${links}, pid ${pid}, plugin socket ${socket}`
}
