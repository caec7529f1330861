/**
 * Commands inside a network namespace, for sandboxes on TAPs. `ip netns exec` and not `nsenter`: it
 * lays /etc/netns/NAME/resolv.conf over /etc/resolv.conf, so that programs know names.
 */
import { spawn } from 'node:child_process'
import { clearTimeout, setTimeout } from 'node:timers'
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

const TIMEOUT_MS = 30_000

/**
 * Run a command in the namespace `netns` (a name under /var/run/netns) and wait for its end.
 * @throws StackError `syscall` if it cannot be started.
 */
export function execIn(
  netns: string,
  argv: readonly string[],
  { input, timeoutMs = TIMEOUT_MS }: ExecOptions = {},
): Promise<ExecResult> {
  return new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, killSignal: 'SIGKILL' } as const
    const child = spawn('ip', ['netns', 'exec', netns, ...argv], options)
    const out: Buffer[] = []
    const err: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
    child.on('error', (cause) => {
      reject(new StackError('syscall', `cannot run ${argv[0]}: ${cause.message}`, { cause }))
    })
    child.on('close', (code) => {
      resolve({ code, stdout: String(Buffer.concat(out)), stderr: String(Buffer.concat(err)) })
    })
    // A command that ends before it has read its input is no failure of ours.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
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

const STOP_MS = 1000

/** @throws StackError `syscall` if it cannot be started. */
export function startIn(netns: string, argv: readonly string[]): SandboxProcess {
  const child = spawn('ip', ['netns', 'exec', netns, ...argv])
  const ended = new Promise<void>((resolve) => {
    child.on('close', () => resolve())
    child.on('error', () => resolve())
  })
  const { pid } = child
  if (pid === undefined) throw new StackError('syscall', `cannot run ${argv[0]}: no command ip`)
  void ended.then(atExit(() => child.kill('SIGKILL')))
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
        reject(
          new StackError('syscall', `${argv[0]} ended before it said "${text}": ${said.stderr}`),
        )
      })
      look()
    })
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    const force = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    await ended
    clearTimeout(force)
  }
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

/** Of each output that is kept: the last of it. */
const OUTPUT_CHARS = 1 << 20

/**
 * One echo request by the system's `ping`.
 * @throws PingError; StackError `not-found` with what it printed, if it could not be sent.
 */
export async function pingIn(netns: string, to: string, options: PingOptions): Promise<PingReply> {
  const { bytes = 56, ttl = 64, dontFragment = false, timeoutMs = 5000 } = options
  const seconds = Math.max(1, Math.ceil(timeoutMs / 1000))
  const argv = ['ping', '-n', '-c', '1', '-W', `${seconds}`, '-s', `${bytes}`, '-t', `${ttl}`]
  if (dontFragment) argv.push('-M', 'do')
  const { stdout, stderr } = await execIn(netns, [...argv, to])
  const answer = /bytes from ([^ ]+): icmp_seq=1 ttl=(\d+) time=([\d.]+) ms/.exec(stdout)
  if (answer === null) throw pingProblem(to, stdout, stderr, seconds)
  return {
    from: answer[1]!,
    ttl: Number(answer[2]),
    rttMs: Number(answer[3]),
    bytes,
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
