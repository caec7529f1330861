/**
 * A daemon under test: the built command line on a file of its own, with the kernel's own tools
 * in the sandboxes. Every name carries this process's number; `close` removes what is left even
 * if the daemon was killed.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deleteNetns } from '../../stack/native/netns.ts'

const CLI = join(import.meta.dirname, '../../dist/services/cli/main.js')
const READY_MS = 60_000
const EXIT_MS = 30_000

export interface Result {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

let serial = 0

/** Run a program to its end; never rejects for its exit code. */
export function run(command: readonly string[], timeoutMs = 60_000): Promise<Result> {
  return new Promise((resolve) => {
    const [program, ...args] = command
    const options = { timeout: timeoutMs, maxBuffer: 64 * 1024 * 1024 }
    execFile(program!, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
      resolve({ code, stdout, stderr })
    })
  })
}

/** What a program that must succeed prints. */
export async function must(...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command)
  if (code !== 0) throw new Error(`${command.join(' ')}: ${stderr}`)
  return stdout
}

/** Wait until it is so; how long that took, ms. `found` tells what is so instead. */
export async function until(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  limitMs: number,
  found: () => string | Promise<string> = () => '',
): Promise<number> {
  const start = performance.now()
  while (!(await isSo())) {
    if (performance.now() - start > limitMs) {
      throw new Error(`not within ${limitMs} ms: ${what} ${await found()}`.trimEnd())
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return performance.now() - start
}

/** Installed, or its absence is a failure in CI and a skip elsewhere. */
export function hasTool(name: string, debianPackage: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${name}`])
    return true
  } catch {
    if (process.env['CI'] === 'true')
      throw new Error(`${name} is missing: install ${debianPackage}`)
    console.warn(`skipped: ${name} is missing (Debian package ${debianPackage})`)
    return false
  }
}

/**
 * One whose daemon runs in a namespace. Not by `ip netns exec`: what the daemon makes there would
 * be seen by nobody else.
 */
export function labIn(netns: string): Lab {
  const lab = new Lab()
  lab.within = ['nsenter', `--net=/var/run/netns/${netns}`]
  return lab
}

export class Lab {
  /** Prefix of every namespace. */
  readonly prefix: string
  readonly folder: string
  readonly file: string
  readonly socket: string
  /** A command that runs the daemon's, somewhere else: `nsenter ...`. */
  within: readonly string[] = []
  daemon: ChildProcess | undefined
  log = ''
  readyLine = ''
  readonly #namespaces = new Set<string>()
  readonly #children = new Set<ChildProcess>()

  constructor() {
    this.prefix = `tl${process.pid}x${serial++}`
    this.folder = mkdtempSync(join(tmpdir(), `${this.prefix}-`))
    this.file = join(this.folder, 'lab.yaml')
    this.socket = join(this.folder, 'api.sock')
  }

  /** Namespace of a sandbox. */
  ns(name: string): string {
    const full = `${this.prefix}${name}`
    this.#namespaces.add(full)
    return full
  }

  write(yaml: string): void {
    writeFileSync(this.file, yaml)
  }

  /** Start the daemon. `ready: false` returns at once. */
  async up(yaml: string, args: readonly string[] = [], ready = true): Promise<void> {
    this.write(yaml)
    const command = [
      ...this.within,
      process.execPath,
      CLI,
      'up',
      this.file,
      '--socket',
      this.socket,
    ]
    const [program, ...first] = [...command, ...args]
    const daemon = spawn(program!, first, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.daemon = daemon
    daemon.stderr!.on('data', (data: Buffer) => {
      this.log += data.toString()
    })
    const line = new Promise<void>((resolve, reject) => {
      daemon.stdout!.on('data', (data: Buffer) => {
        this.readyLine += data.toString()
        if (/^ready .*\n/m.test(this.readyLine)) resolve()
      })
      daemon.once('exit', (code) => reject(new Error(`up ended with ${code}:\n${this.log}`)))
      setTimeout(() => reject(new Error(`not ready in ${READY_MS} ms:\n${this.log}`)), READY_MS)
    })
    line.catch(() => {})
    if (ready) await line
  }

  /** A command of the command line against the daemon. */
  cli(...args: string[]): Promise<Result> {
    return run([process.execPath, CLI, ...args, '--socket', this.socket])
  }

  async json<T>(...args: string[]): Promise<T> {
    const { code, stdout, stderr } = await this.cli(...args, '--json')
    if (code !== 0) throw new Error(`tapline ${args.join(' ')}: ${stderr}`)
    return JSON.parse(stdout) as T
  }

  /** Run a program inside a sandbox. */
  exec(sandbox: string, ...command: string[]): Promise<Result> {
    return run(['ip', 'netns', 'exec', this.ns(sandbox), ...command])
  }

  /** Start a program inside a sandbox; it ends with the lab. */
  spawn(sandbox: string, ...command: string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.ns(sandbox), ...command], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#children.add(child)
    return child
  }

  /** Received, of `count` pings sent. */
  async ping(from: string, to: string, ...args: string[]): Promise<number> {
    const { stdout } = await this.exec(from, 'ping', '-n', '-c3', '-i0.2', '-W2', ...args, to)
    return Number(/(\d+) received/.exec(stdout)?.[1] ?? 0)
  }

  /** Signal the daemon and wait for its end: its exit code, and how long that took. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<{ code: number | null; ms: number }> {
    const { daemon } = this
    if (daemon === undefined) return { code: null, ms: 0 }
    const started = performance.now()
    if (daemon.exitCode === null && daemon.signalCode === null) {
      daemon.kill(signal)
      await new Promise<void>((resolve) => {
        daemon.once('exit', () => resolve())
        setTimeout(() => daemon.kill('SIGKILL'), EXIT_MS).unref()
      })
    }
    this.daemon = undefined
    return { code: daemon.exitCode, ms: performance.now() - started }
  }

  /** What of this lab is still there: namespaces and sockets. */
  leftovers(): string[] {
    const names = existsSync('/var/run/netns') ? readdirSync('/var/run/netns') : []
    const left = names.filter((name) => name.startsWith(this.prefix))
    return existsSync(this.socket) ? [...left, this.socket] : left
  }

  /** Resident memory of the daemon, KB, and its open descriptors. */
  usage(): { rssKb: number; descriptors: number; cpuTicks: number } {
    const proc = `/proc/${this.daemon!.pid}`
    const status = readFileSync(`${proc}/status`, 'utf8')
    const fields = readFileSync(`${proc}/stat`, 'utf8').split(') ')[1]!.split(' ')
    return {
      rssKb: Number(/VmRSS:\s+(\d+)/.exec(status)![1]),
      descriptors: readdirSync(`${proc}/fd`).length,
      cpuTicks: Number(fields[11]) + Number(fields[12]),
    }
  }

  /** Stop and close: the exit code, and what was left behind before anything was cleaned up. */
  async end(): Promise<{ code: number | null; left: string[] }> {
    const { code } = await this.stop()
    const left = this.leftovers()
    await this.close()
    return { code, left }
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL')
    await this.stop()
    for (const name of this.#namespaces) deleteNetns(name)
    for (const name of this.leftovers()) if (!name.startsWith('/')) deleteNetns(name)
    // A daemon that was killed leaves these, as it leaves its namespaces.
    for (const name of this.#namespaces) {
      rmSync(`/etc/netns/${name}`, { recursive: true, force: true })
    }
    rmSync(this.folder, { recursive: true, force: true })
  }
}
