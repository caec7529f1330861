/**
 * A Docker host of its own: dockerd and containerd in a mount and a network namespace that end
 * with the benchmark, with folders, sockets and rules of their own, beside a Docker that the
 * machine itself may run. With it runs `tapline docker`, so that one dockerd has networks of both
 * kinds, and what is compared differs in the network alone.
 *
 * ```text
 *   holder (mount namespace with its own /run, network namespace)
 *     ├─ containerd ── shims ── containers
 *     ├─ dockerd    (userland proxy as it comes, or without)
 *     └─ tapline docker
 * ```
 *
 * Containers outlive who started them, so that at the end they are removed by dockerd first, and
 * then whatever still runs in the mount namespace is killed: nothing else can be there.
 */
import { mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { atExit } from '../cleanup.ts'
import { CONTAINERD, ENTER_HOST, makeImageFolder, processesOf } from '../container_host.ts'
import { onCpus, PREFIX } from '../netns.ts'
import { type Background, background, run, runSync } from '../shell.ts'
import type { Peer, Settings } from './peer.ts'
import { CLI } from './tapline.ts'

const DOCKER = '/run/docker.sock'
const IMAGE = 'bench:1'
/** dockerd makes its firewall, on a machine that starts other systems meanwhile. */
const START_MS = 90_000
/** A container's program that does nothing. */
const SLEEP = ['sleep', '1000000']
/** Of a whole benchmark, and more. */
const SLEEP_S = '1000000'

/** Programs that a machine needs, each with the Debian package that has it. */
export const DOCKER_TOOLS: Peer['tools'] = {
  dockerd: 'docker.io',
  docker: 'docker.io',
  containerd: 'containerd',
  runc: 'runc',
  iptables: 'iptables',
  unshare: 'util-linux',
  '/bin/busybox': 'busybox-static',
}

export interface DockerSettings extends Settings {
  /** Docker's process a published port, which carries what comes from the host itself. */
  readonly userlandProxy: boolean
  /** Run `tapline docker` too. */
  readonly tapline: boolean
}

export class DockerMachine {
  /** A process of its namespaces. */
  readonly pid: number
  readonly #folder: string
  readonly #running: Background[]
  /** Containers need no removing at the end of the process any more. */
  #forget: () => void = () => undefined
  #engine: string | undefined

  private constructor(holder: Background, folder: string) {
    this.pid = holder.pid
    this.#folder = folder
    this.#running = [holder]
  }

  /** @throws Error that says what did not work. */
  static async open(settings: DockerSettings): Promise<DockerMachine> {
    const folder = mkdtempSync(join(tmpdir(), `${PREFIX}docker-`))
    atExit(() => rmSync(folder, { recursive: true, force: true }))
    const line = `${ENTER_HOST} && echo up && exec sleep ${SLEEP_S}`
    const holder = await background(['unshare', '-n', '-m', 'sh', '-c', line], { ready: /^up$/m })
    const machine = new DockerMachine(holder, folder)
    const space = readlinkSync(`/proc/${holder.pid}/ns/mnt`)
    atExit(() => killAll(space))
    await machine.#start(settings)
    return machine
  }

  async #start({ userlandProxy, tapline, engine, systemCpus }: DockerSettings): Promise<void> {
    const at = (name: string): string => join(this.#folder, name)
    const containerd = ['--root', at('containerd'), '--state', '/run/containerd']
    await this.#background(
      ['containerd', '--config', '/dev/null', ...containerd, '--address', CONTAINERD],
      /containerd successfully booted/,
    )
    const folders = [`--data-root=${at('data')}`, '--exec-root=/run/docker', '--config-file']
    const sockets = [`--host=unix://${DOCKER}`, '--pidfile=/run/docker.pid']
    const how = ['--storage-driver=vfs', `--userland-proxy=${userlandProxy}`]
    await this.#background(
      ['dockerd', ...folders, this.#daemonFile(), ...sockets, ...how, `--containerd=${CONTAINERD}`],
      /API listen on/,
    )
    const root = this.#imageFolder()
    await this.run(['sh', '-ec', `tar -C ${root} -c . | docker import - ${IMAGE}`])
    if (tapline) await this.#startTapline(engine, systemCpus)
    // Undone before any of these ends: dockerd asks tapline about each container.
    this.#forget = atExit(() => runSync(this.command(['sh', '-c', REMOVE_ALL])))
  }

  async #startTapline(engine: string, systemCpus: string): Promise<void> {
    const at = (name: string): string => join(this.#folder, name)
    const argv = ['docker', '--state', at('state.json'), '--engine', engine]
    const command = [process.execPath, CLI, ...argv, '--log-level', 'warn']
    const daemon = await this.#background(onCpus(systemCpus, command), /^ready .*\n/m)
    this.#engine = /tap \((\w+)\)/.exec(daemon.readyLine)?.[1]
  }

  /** tapline's I/O engine, if it runs. */
  get engine(): string | undefined {
    return this.#engine
  }

  /** Nothing of the host's own. */
  #daemonFile(): string {
    const file = join(this.#folder, 'daemon.json')
    writeFileSync(file, '{}\n')
    return file
  }

  /** A shell, and a page to serve. */
  #imageFolder(): string {
    const root = join(this.#folder, 'root')
    makeImageFolder(root, ['sh', 'sleep', 'httpd'])
    mkdirSync(join(root, 'www'))
    writeFileSync(join(root, 'www/index.html'), 'hello\n')
    return root
  }

  async #background(argv: readonly string[], ready: RegExp): Promise<Background> {
    const started = await background(this.command(argv), { ready, limitMs: START_MS })
    this.#running.push(started)
    return started
  }

  /** The command that runs `argv` on this machine. */
  command(argv: readonly string[]): string[] {
    return ['nsenter', `-t${this.pid}`, '-n', '-m', '--', ...argv]
  }

  run(argv: readonly string[]): Promise<string> {
    return run(this.command(argv))
  }

  docker(...args: string[]): Promise<string> {
    return this.run(['docker', ...args])
  }

  /** The command that starts a container with `args`, from outside of the machine. */
  startCommand(args: readonly string[], program: readonly string[]): string[] {
    const socket = `unix:///proc/${this.pid}/root${DOCKER}`
    return ['docker', '-H', socket, 'run', '-d', ...args, IMAGE, ...program]
  }

  /** Start a container that does nothing, and give its network namespace a name. */
  async addContainer(netns: string, args: readonly string[]): Promise<void> {
    const id = (await run(this.startCommand(args, SLEEP))).trim()
    const pid = (await this.docker('inspect', '-f', '{{.State.Pid}}', id)).trim()
    runSync(['ip', 'netns', 'attach', netns, pid])
    atExit(() => runSync(['ip', 'netns', 'del', netns]))
  }

  /** Containers, and then all that runs. */
  async close(): Promise<void> {
    await this.run(['sh', '-c', REMOVE_ALL])
    this.#forget()
    for (const one of this.#running.reverse()) await one.stop()
  }
}

const REMOVE_ALL = 'docker ps -aq | xargs -r docker rm -f'

/** What is left of a machine that is ours. */
function killAll(space: string): void {
  for (const pid of processesOf(space)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended.
    }
  }
}
