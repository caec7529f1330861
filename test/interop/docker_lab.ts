/** A Docker host: dockerd and tapline on a machine of their own, and what a user types there. */
import { type ChildProcess, execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { CONTAINERD } from '../../bench/container_host.ts'
import type { Result } from '../netns/lab.ts'
import { type Recorded, recorded } from '../services/docker/recorded.ts'
import { CLI, HostLab, stop } from './host_lab.ts'

export const IMAGE = 'lab:1'

export class DockerLab {
  readonly machine: HostLab = new HostLab((container) => this.#pid(container))
  #dockerd: ChildProcess | undefined
  #tapline: ChildProcess | undefined
  /** By container. Asked anew after every command of Docker, which may have changed them. */
  readonly #pids = new Map<string, string>()

  /** The machine, with dockerd and an image. */
  async open(): Promise<void> {
    await this.machine.open()
    await this.startDocker()
    const { root } = this.machine
    await this.machine.must('host', 'sh', '-ec', `tar -C ${root} -c . | docker import - ${IMAGE}`)
  }

  exec(place: string, ...command: string[]): Promise<Result> {
    return this.machine.exec(place, ...command)
  }

  must(place: string, ...command: string[]): Promise<string> {
    return this.machine.must(place, ...command)
  }

  spawn(place: string, ...command: string[]): ChildProcess {
    return this.machine.spawn(place, ...command)
  }

  async docker(...args: string[]): Promise<string> {
    try {
      return await this.must('host', 'docker', ...args)
    } finally {
      this.#pids.clear()
    }
  }

  /** Run a container that sleeps, and ends at once where Docker stops it. */
  container(name: string, ...args: string[]): Promise<string> {
    const options = ['-d', '--name', name, '--stop-signal', 'KILL', ...args]
    return this.docker('run', ...options, IMAGE, 'sleep', '100000')
  }

  async startDocker(): Promise<void> {
    const folders = [`--data-root=${join(this.machine.folder, 'data')}`, '--exec-root=/run/docker']
    const options = ['--pidfile=/run/docker.pid', `--containerd=${CONTAINERD}`]
    const command = ['dockerd', ...folders, '--storage-driver=vfs', ...options]
    this.#dockerd = this.spawn('host', ...command)
    this.#dockerd.stderr!.on('data', (data: Buffer) => {
      this.machine.log += data.toString()
    })
    await this.machine.until(async () => (await this.exec('host', 'docker', 'version')).code === 0)
  }

  /** With SIGTERM, its containers end first. */
  async stopDocker(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await stop(this.#dockerd, signal)
    this.#pids.clear()
  }

  async startTapline(...args: string[]): Promise<void> {
    const state = join(this.machine.folder, 'state.json')
    const command = [process.execPath, CLI, 'docker', '--state', state, ...args]
    const child = this.spawn('host', ...command)
    this.#tapline = child
    child.stderr!.on('data', (data: Buffer) => {
      this.machine.log += data.toString()
    })
    let out = ''
    child.stdout!.on('data', (data: Buffer) => {
      out += data.toString()
    })
    await this.machine.until(async () => {
      if (child.exitCode !== null) throw new Error(`tapline ended: ${this.machine.log}`)
      return /^ready .*\n/m.test(out)
    })
  }

  async stopTapline(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    return await stop(this.#tapline, signal)
  }

  tapline(...args: string[]): Promise<string> {
    return this.must('host', process.execPath, CLI, ...args, '--name', 'docker')
  }

  /** What tapline keeps. */
  state(): Recorded {
    return recorded(join(this.machine.folder, 'state.json'))
  }

  /** Interfaces of ours on the host. */
  async links(): Promise<string[]> {
    const all = await this.must('host', 'ip', '-br', 'link')
    return all
      .split('\n')
      .map((line) => line.split(/[ @]/)[0]!)
      .filter((name) => /^tl/.test(name))
  }

  async close(): Promise<void> {
    await this.exec('host', 'sh', '-c', 'docker ps -aq | xargs -r docker rm -f')
    await this.stopTapline()
    await this.stopDocker()
    await this.machine.close()
  }

  #pid(container: string): string {
    const known = this.#pids.get(container)
    if (known !== undefined) return known
    const [program, ...args] = this.machine.at('host', [
      ...['docker', 'inspect', '-f', '{{.State.Pid}}', container],
    ])
    const pid = execFileSync(program!, args, { encoding: 'utf8' }).trim()
    this.#pids.set(container, pid)
    return pid
  }
}
