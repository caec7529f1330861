/**
 * A machine of its own for container runtimes: a mount and a network namespace that end with the
 * lab, and a second machine, `lan`, on a cable to it. Programs of this machine run in the
 * namespaces of containers, so that an image needs nothing but a shell.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { CONTAINERD, ENTER_HOST, makeImageFolder, processesOf } from '../../bench/container_host.ts'
import { type Result, run } from '../netns/lab.ts'

export const CLI: string = join(import.meta.dirname, '../../dist/services/cli/main.js')
const START_MS = 120_000
const STOP_MS = 30_000

export const HOST4 = '192.0.2.2'
export const LAN4 = '192.0.2.1'
export const HOST6 = '2001:db8:7::2'
export const LAN6 = '2001:db8:7::1'

export class HostLab {
  readonly folder: string = mkdtempSync(join(tmpdir(), `tlhost${process.pid}-`))
  /** The file system of an image: a shell and its tools. */
  readonly root: string = join(this.folder, 'root')
  log = ''
  readonly #pidOf: (container: string) => string
  #host: ChildProcess | undefined
  #lan: ChildProcess | undefined
  #containerd: ChildProcess | undefined
  readonly #children = new Set<ChildProcess>()

  /** `pidOf`: a process of a container, by its name. */
  constructor(pidOf: (container: string) => string) {
    this.#pidOf = pidOf
  }

  /** Namespaces, cable, an image's files, containerd. */
  async open(): Promise<void> {
    this.#host = await holder(['-n', '-m'], ENTER_HOST)
    this.#lan = await holder(['-n'], 'ip link set lo up')
    const host = async (line: string) => this.must('host', 'sh', '-ec', line)
    await host(`ip link add eth0 type veth peer name eth0 netns ${this.#lan.pid}
      ip addr add ${HOST4}/24 dev eth0; ip addr add ${HOST6}/64 dev eth0 nodad
      ip link set eth0 up; ip route add default via ${LAN4}`)
    await this.must(
      'lan',
      'sh',
      '-ec',
      `ip addr add ${LAN4}/24 dev eth0; ip addr add ${LAN6}/64 dev eth0 nodad
      ip link set eth0 up`,
    )
    makeImageFolder(this.root, ['sh', 'ping', 'sleep', 'ip', 'cat'])
    await this.#startContainerd()
  }

  /** A command that runs in `host`, in `lan`, or in the network namespace of a container. */
  at(place: string, command: readonly string[]): string[] {
    if (place === 'host') return ['nsenter', `-t${this.#host!.pid}`, '-n', '-m', '--', ...command]
    const pid = place === 'lan' ? this.#lan!.pid : this.#pidOf(place)
    return ['nsenter', `-t${pid}`, '-n', '--', ...command]
  }

  exec(place: string, ...command: string[]): Promise<Result> {
    return run(this.at(place, command))
  }

  /** The output of a command that must succeed. */
  async must(place: string, ...command: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.exec(place, ...command)
    if (code !== 0) throw new Error(`${command.join(' ')}: ${code}\n${stdout}${stderr}`)
    return stdout.trim()
  }

  /** Start a program; it ends with the lab. */
  spawn(place: string, ...command: string[]): ChildProcess {
    const [program, ...args] = this.at(place, command)
    const child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#children.add(child)
    return child
  }

  /** Received, of three pings sent. */
  async ping(place: string, to: string): Promise<number> {
    const { stdout } = await this.exec(place, 'ping', '-n', '-c3', '-i0.2', '-W2', to)
    return Number(/(\d+) received/.exec(stdout)?.[1] ?? 0)
  }

  /** On its own, so that it outlives dockerd, as it does on a host. */
  async #startContainerd(): Promise<void> {
    const root = join(this.folder, 'containerd')
    const options = ['--root', root, '--state', '/run/containerd', '--address', CONTAINERD]
    this.#containerd = this.spawn('host', 'containerd', '--config', '/dev/null', ...options)
    const version = ['ctr', '--address', CONTAINERD, 'version']
    await this.until(async () => (await this.exec('host', ...version)).code === 0)
  }

  async until(holds: () => Promise<boolean>, limitMs: number = START_MS): Promise<void> {
    const end = performance.now() + limitMs
    while (!(await holds())) {
      if (performance.now() > end) throw new Error(`not within ${limitMs} ms:\n${this.log}`)
      await setTimeout(100)
    }
  }

  async close(): Promise<void> {
    if (this.#host === undefined) return
    await stop(this.#containerd, 'SIGTERM')
    for (const child of this.#children) child.kill('SIGKILL')
    const space = readlinkSync(`/proc/${this.#host.pid}/ns/mnt`)
    for (const pid of processesOf(space)) process.kill(pid, 'SIGKILL')
    this.#host.kill('SIGKILL')
    this.#lan?.kill('SIGKILL')
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** A process that holds new namespaces, after `script` has run there. */
async function holder(kinds: readonly string[], script: string): Promise<ChildProcess> {
  const line = `${script} && echo up && exec sleep 1000000`
  const child = spawn('unshare', [...kinds, 'sh', '-c', line], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise<void>((resolve, reject) => {
    child.stdout!.once('data', () => resolve())
    child.once('exit', (code) => reject(new Error(`no namespaces: ${code}`)))
  })
  return child
}

export async function stop(
  child: ChildProcess | undefined,
  signal: NodeJS.Signals,
): Promise<number | null> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) {
    return child?.exitCode ?? null
  }
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill(signal)
  const late = setTimeout(STOP_MS, undefined, { ref: false }).then(() => child.kill('SIGKILL'))
  await Promise.race([ended, late])
  await ended
  return child.exitCode
}
