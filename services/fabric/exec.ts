/**
 * Commands inside a network namespace, for sandboxes on TAPs. `ip netns exec` and not `nsenter`: it
 * lays /etc/netns/NAME/resolv.conf over /etc/resolv.conf, so that programs know names.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { clearTimeout, setImmediate, setTimeout } from 'node:timers'
import { StackError } from '../../stack/errors.ts'
import { atExit } from './at_exit.ts'
import { PingError, type PingOptions, type PingReply } from './ping.ts'

export interface ExecOptions {
  /** Written to its standard input. */
  readonly input?: string
  /** Killed after so long, in real time. Default 30 s. */
  readonly timeoutMs?: number
}

export interface ExecResult {
  /** Exit code; null if it was killed. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A program that runs inside a sandbox. */
export interface SandboxProcess {
  readonly pid: number
  /** What it has written so far. */
  readonly stdout: string
  readonly stderr: string
  /** Resolves when its standard output has this text. @throws StackError if it ends before. */
  says(text: string): Promise<void>
  /** End it, by force after a second, and wait for its end. Idempotent. */
  stop(): Promise<void>
}

/** One that runs, whoever asked for it. */
interface Program {
  readonly pid: number
  readonly child: ChildProcessWithoutNullStreams
  /** Exit code, null if it was killed: once nobody has its outputs open. */
  readonly ended: Promise<number | null>
  /** End it by force, and wait for no child of its own that has its outputs open. */
  kill(): void
  stop(): Promise<void>
}

const TIMEOUT_MS = 30_000
const STOP_MS = 1000
/** Of each output of a program that runs on, what is kept: the last of it. */
const OUTPUT_CHARS = 1 << 20

/** What runs in a namespace: none outlives {@link Programs.stop}, or the exit of the process. */
export class Programs {
  readonly #netns: string
  readonly #running = new Set<Program>()

  /** `netns`: a name under /var/run/netns. */
  constructor(netns: string) {
    this.#netns = netns
  }

  /** Run a command and wait for its end. @throws StackError `syscall` if it cannot be started. */
  async exec(
    argv: readonly string[],
    { input, timeoutMs = TIMEOUT_MS }: ExecOptions = {},
  ): Promise<ExecResult> {
    const { child, ended, kill } = this.#spawn(argv)
    const out: Buffer[] = []
    const err: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
    // A command that ends before it has read its input is no failure of ours.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    const timer = setTimeout(kill, timeoutMs)
    const code = await ended
    clearTimeout(timer)
    return { code, stdout: String(Buffer.concat(out)), stderr: String(Buffer.concat(err)) }
  }

  /** Start a program that runs on. @throws StackError `syscall` if it cannot be started. */
  start(argv: readonly string[]): SandboxProcess {
    const { pid, child, ended, stop } = this.#spawn(argv)
    const said = { stdout: '', stderr: '' }
    const listeners = new Set<() => void>()
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        said[name] = (said[name] + String(chunk)).slice(-OUTPUT_CHARS)
        for (const listener of [...listeners]) listener()
      })
    }
    const says = (text: string): Promise<void> =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!said.stdout.includes(text)) return
          listeners.delete(look)
          resolve()
        }
        listeners.add(look)
        void ended.then(() => {
          if (!listeners.delete(look)) return
          const what = `${argv[0]} ended before it said "${text}": ${said.stderr}`
          reject(new StackError('syscall', what))
        })
        look()
      })
    return {
      pid,
      get stdout() {
        return said.stdout
      },
      get stderr() {
        return said.stderr
      },
      says,
      stop,
    }
  }

  /**
   * One echo request by the system's `ping`.
   * @throws PingError; StackError `not-found` with what it printed, if it could not be sent.
   */
  async ping(to: string, options: PingOptions): Promise<PingReply> {
    const { bytes = 56, ttl = 64, dontFragment = false, timeoutMs = 5000 } = options
    const seconds = Math.max(1, Math.ceil(timeoutMs / 1000))
    // What it prints is in the user's language otherwise.
    const argv = ['env', 'LC_ALL=C', 'ping', '-n', '-c', '1', '-W', `${seconds}`]
    argv.push('-s', `${bytes}`, '-t', `${ttl}`, ...(dontFragment ? ['-M', 'do'] : []), to)
    // Names are asked for before its own time begins.
    const limitMs = seconds * 1000 + TIMEOUT_MS
    const { code, stdout, stderr } = await this.exec(argv, { timeoutMs: limitMs })
    const answer = /bytes from ([^ ]+): icmp_seq=1 ttl=(\d+) time=([\d.]+) ms/.exec(stdout)
    if (answer === null) {
      if (code !== null) throw pingProblem(to, stdout, stderr, seconds)
      throw new StackError('daemon', `ping ${to}: it was ended before it had an answer`)
    }
    return {
      from: answer[1]!,
      ttl: Number(answer[2]),
      rttMs: Number(answer[3]),
      bytes,
    }
  }

  /** End all that run, and wait for their ends. */
  async stop(): Promise<void> {
    await Promise.all([...this.#running].map((program) => program.stop()))
  }

  #spawn(argv: readonly string[]): Program {
    const child = spawn('ip', ['netns', 'exec', this.#netns, ...argv])
    const ended = new Promise<number | null>((resolve) => {
      child.on('close', resolve)
      child.on('error', () => resolve(null))
    })
    const { pid } = child
    if (pid === undefined) throw new StackError('syscall', `cannot run ${argv[0]}: no command ip`)
    const kill = (): void => {
      child.kill('SIGKILL')
      // What it has written is read before.
      setImmediate(() => {
        child.stdout.destroy()
        child.stderr.destroy()
      })
    }
    const stop = async (): Promise<void> => {
      child.kill('SIGTERM')
      const force = setTimeout(kill, STOP_MS)
      await ended
      clearTimeout(force)
    }
    const program = { pid, child, ended, kill, stop }
    this.#running.add(program)
    const forget = atExit(() => child.kill('SIGKILL'))
    void ended.then(() => {
      forget()
      this.#running.delete(program)
    })
    return program
  }
}

/** What `ping` of iputils says where there is no answer. */
function pingProblem(to: string, stdout: string, stderr: string, seconds: number): Error {
  const [, from, said = ''] = /^From ([^ ]+) icmp_seq=1 (.*)/m.exec(stdout) ?? []
  const mtuBytes = Number(/\bmtu ?[=:] ?(\d+)/.exec(said + stderr)?.[1] ?? 0)
  const failed = (kind: PingError['kind'], text: string): PingError =>
    new PingError(to, { kind, text, mtuBytes }, from)
  if (mtuBytes > 0) return failed('too-big', `packet too big, MTU ${mtuBytes}`)
  if (/^Time/.test(said)) return failed('time-exceeded', 'time exceeded')
  if (said !== '') return failed('unreachable', said.toLowerCase())
  if (stderr === '') return failed('timeout', `no answer in ${seconds} s`)
  return new StackError('not-found', `ping ${to}: ${stderr.trim().replace(/^ping: /, '')}`)
}
