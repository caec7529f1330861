/**
 * Other programs: run to the end, or kept in the background until stopped.
 *
 * Programs are started with an argument list and never through a shell. Wrappers such as
 * `ip netns exec` and `taskset` replace themselves by what they start, so the process id that we
 * know is the id of the program itself; only processes started here are ever signalled.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { atExit } from './cleanup.ts'

/** How long a program may take to say that it is ready, and to end after SIGTERM. */
const READY_MS = 15_000
const STOP_MS = 15_000
const LOOK_MS = 20

/** How long a program that we wait for may run, unless more is asked for. */
const RUN_MS = 60_000

/** Output kept of a background program, for the message if it dies. */
const KEPT_CHARS = 4_000

/** Root's tools are not on everybody's PATH. */
const { PATH = '' } = process.env
const PATHS = [...PATH.split(':'), '/usr/sbin', '/sbin']

/** True if `tool` can be started; of a path (a module, say): if it is there. */
export function hasTool(tool: string): boolean {
  if (tool.startsWith('/')) return existsSync(tool)
  return PATHS.some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** What a program said, as one line for a message. */
function oneLine(text: string): string {
  return text.trim().replaceAll(/\s*\n\s*/g, '; ')
}

type Environment = Readonly<Record<string, string>>

function environment(extra: Environment): NodeJS.ProcessEnv {
  return { ...process.env, PATH: PATHS.join(':'), LC_ALL: 'C', ...extra }
}

/** Standard input is a pipe that we never write to: some programs end when theirs ends. */
function start(argv: readonly string[], env: Environment): ChildProcess {
  const [file, ...args] = argv
  return spawn(file!, args, { env: environment(env), stdio: 'pipe' })
}

/**
 * Run a program to its end; its standard output.
 * @throws Error with the command and its error output if it fails, or is not done in time.
 */
export function run(argv: readonly string[], limitMs: number = RUN_MS): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = start(argv, {})
    const forget = atExit(() => child.kill('SIGKILL'))
    const timer = setTimeout(() => child.kill('SIGKILL'), limitMs)
    let out = ''
    let err = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      out += chunk
    })
    child.stderr?.on('data', (chunk: Buffer) => {
      err += chunk
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      forget()
      if (code === 0) return resolve(out)
      const said = oneLine(err) || oneLine(out)
      reject(new Error(`${argv.join(' ')} ended with ${signal ?? code}: ${said}`))
    })
  })
}

/** The same at once: for undoing, and for commands that take a few milliseconds. */
export function runSync(argv: readonly string[], env: Environment = {}): string {
  const [file, ...args] = argv
  const done = spawnSync(file!, args, { env: environment(env), encoding: 'utf8' })
  if (done.status === 0) return done.stdout
  const why = done.error?.message ?? (oneLine(done.stderr) || oneLine(done.stdout))
  throw new Error(`${argv.join(' ')} ended with ${done.status}: ${why}`)
}

/** Version of an installed package, for programs that do not tell their own on stdout. */
export function debianVersion(name: string): string {
  try {
    return runSync(['dpkg-query', '--show', name]).trim().replace(`${name}\t`, '')
  } catch {
    return 'of unknown version'
  }
}

export interface Background {
  readonly pid: number
  /** Milliseconds from its start until it was ready. */
  readonly readyMs: number
  /** The line of its output that matched. */
  readonly readyLine: string
  /** SIGTERM, and SIGKILL if that does not help in time. What it left of its life's output. */
  stop(): Promise<{ readonly tookMs: number; readonly exitCode: number | null }>
}

export interface BackgroundOptions {
  readonly env?: Environment
  /** It is ready when a line of its output matches; left out: as soon as it runs. */
  readonly ready?: RegExp
  readonly limitMs?: number
}

/**
 * Start a program and wait until it is ready. It is stopped at the latest when we end.
 * @throws Error with its output if it ends or stays silent instead.
 */
export async function background(
  argv: readonly string[],
  { env = {}, ready, limitMs = READY_MS }: BackgroundOptions = {},
): Promise<Background> {
  const fromMs = performance.now()
  const child = start(argv, env)
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const forget = atExit(() => stopNow(child))
  const stop = async (): Promise<{ tookMs: number; exitCode: number | null }> => {
    const stopMs = performance.now()
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    child.kill('SIGTERM')
    if (child.pid !== undefined) await ended
    clearTimeout(timer)
    forget()
    return { tookMs: performance.now() - stopMs, exitCode: child.exitCode }
  }
  try {
    const readyLine = await untilReady(child, ready, limitMs)
    return { pid: child.pid!, readyMs: performance.now() - fromMs, readyLine, stop }
  } catch (error) {
    await stop()
    throw new Error(`${argv.join(' ')} ${error instanceof Error ? error.message : error}`)
  }
}

function untilReady(
  child: ChildProcess,
  ready: RegExp | undefined,
  limitMs: number,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const fail = (why: string): void => reject(new Error(`${why}: ${oneLine(text)}`))
    const timer = setTimeout(() => fail(`was not ready after ${limitMs} ms`), limitMs)
    const done = (line: string): void => {
      clearTimeout(timer)
      resolve(line)
    }
    const hear = (chunk: Buffer): void => {
      text = (text + chunk).slice(-KEPT_CHARS)
      const match = ready?.exec(text)
      if (match) done(match[0].trim())
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    child.once('close', (code) => {
      clearTimeout(timer)
      fail(`ended with ${code}`)
    })
    child.once('error', (error) => {
      clearTimeout(timer)
      fail(error.message)
    })
    if (ready === undefined) child.once('spawn', () => done(''))
  })
}

/** From the exit handler: nothing asynchronous runs any more, so wait by looking. */
function stopNow(child: ChildProcess): void {
  const { pid } = child
  if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  const never = new Int32Array(new SharedArrayBuffer(4))
  for (let waitedMs = 0; waitedMs < STOP_MS && isRunning(pid); waitedMs += LOOK_MS) {
    Atomics.wait(never, 0, 0, LOOK_MS)
  }
  child.kill('SIGKILL')
}

function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.charAt(stat.lastIndexOf(')') + 2) !== 'Z'
  } catch {
    return false
  }
}

/** Ask again and again until `met`. @throws Error that names `what` if it takes too long. */
export async function until(what: string, met: () => boolean): Promise<void> {
  for (let waitedMs = 0; !met(); waitedMs += LOOK_MS) {
    if (waitedMs >= READY_MS) throw new Error(`waited ${READY_MS} ms in vain for ${what}`)
    await sleep(LOOK_MS)
  }
}
