/**
 * Programs inside sandboxes that are network namespaces. A child is forked by the thread that
 * spawns it and starts in that thread's namespace, so no helper such as nsenter is needed.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { StackError } from '../../stack/errors.ts'
import { inNetns } from '../../stack/native/netns.ts'

/** Characters kept of what a program says: its end. */
const KEPT_MAX: number = 1024 * 1024

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Start a program in a namespace; undefined: in ours. Its stdout and stderr are pipes. */
export function start(
  netns: string | undefined,
  command: string,
  args: readonly string[],
): ChildProcess {
  const spawnHere = (): ChildProcess => spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  return netns === undefined ? spawnHere() : inNetns(netns, spawnHere)
}

/**
 * Start a program that must outlive Ctrl-C: a terminal sends it to the whole foreground group, and
 * the demo is to end its daemon itself. It does not outlive us.
 */
export function startDaemon(command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const end = (): void => void child.kill()
  process.once('exit', end)
  child.once('close', () => process.off('exit', end))
  return child
}

/** Run a program to its end, at most `limitMs`. */
export function run(
  netns: string | undefined,
  command: string,
  args: readonly string[],
  limitMs = 30_000,
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = start(netns, command, args)
    const timer = setTimeout(() => child.kill('SIGKILL'), limitMs)
    const stdout = collect(child.stdout)
    const stderr = collect(child.stderr)
    child.on('error', (error) => {
      clearTimeout(timer)
      reject(new StackError('syscall', `${command}: ${error.message}`, { cause: error }))
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code, stdout: stdout(), stderr: stderr() })
    })
  })
}

/** Wait for a line on the child's stdout that begins so. @throws StackError if it ends first. */
export function waitForLine(child: ChildProcess, begins: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const stderr = collect(child.stderr)
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const found = text.split('\n').find((line) => line.startsWith(begins))
      if (found !== undefined && text.includes('\n', text.indexOf(found))) resolve(found)
    })
    child.on('error', reject)
    child.on('close', (code) => {
      const why = stderr().trim()
      reject(new StackError('daemon', why === '' ? `it ended with exit code ${code}` : why))
    })
  })
}

/** End a child that we started, and wait until it is gone. */
export async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('close', resolve))
  child.kill(signal)
  await gone
}

/** True if there is such a program in PATH. */
export function isInstalled(command: string): boolean {
  const { PATH = '' } = process.env
  return PATH.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  let text = ''
  stream?.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-KEPT_MAX)
  })
  return () => text
}
