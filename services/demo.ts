/**
 * The demo: the main job in about ten seconds, in the most real way that this machine allows.
 *
 * ```text
 *   tap      root: TAPs in network namespaces, the kernel's own TCP/IP at both ends
 *   userns   an ordinary user: the same, inside a new user, network and mount namespace
 *   memory   where neither is allowed: hosts in memory on virtual time, the same pipeline between
 * ```
 *
 * It says which it is and why. A mode that was forced and cannot be is an error; left to itself
 * the demo takes the next one.
 */
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { StackError } from '../stack/errors.ts'
import { isInstalled, run } from './demo/inside.ts'
import { demoInMemory } from './demo/memory.ts'
import { Narrator } from './demo/narrator.ts'
import { demoOnTaps } from './demo/taps.ts'
import { Runtime } from './runtime.ts'

export type DemoMode = 'tap' | 'userns' | 'memory'

export interface DemoOptions {
  /** Left out: the most real that works. */
  readonly mode?: DemoMode | undefined
  /** Leave it running until the signal. */
  readonly keep: boolean
  readonly signal: AbortSignal
}

const MAIN: string = fileURLToPath(new URL('./cli/main.js', import.meta.url))
const TUN = '/dev/net/tun'
/** Set for the demo's second life, inside the namespaces that `unshare` made. */
const INSIDE = 'TAPLINE_DEMO_INSIDE'
const UNSHARE = ['--user', '--map-root-user', '--net', '--mount']
/** A /run of its own, for named namespaces and sockets; seen by nobody outside. */
const WITH_RUN = 'mount -t tmpfs tmpfs "$(readlink -f /var/run)" && exec "$@"'

/** The exit code. @throws StackError if it does not go as it should. */
export async function demo(options: DemoOptions): Promise<number> {
  const narrator = new Narrator()
  if (process.env[INSIDE] !== undefined) {
    await demoOnTaps({ narrator, ...options })
    return finish(narrator, options)
  }
  narrator.title('tapline: a container network in one process')
  const reasons: string[] = []
  for (const mode of options.mode === undefined ? MODES : [options.mode]) {
    const obstacle = await OBSTACLES[mode]()
    if (obstacle === undefined) return runMode(mode, { narrator, options, reasons })
    reasons.push(`not "${mode}": ${obstacle}`)
  }
  throw new StackError('unsupported', `the demo cannot run: ${reasons.join('; ')}`)
}

const MODES: readonly DemoMode[] = ['tap', 'userns', 'memory']

/** Why a mode cannot be, found out by trying; undefined: it can. */
const OBSTACLES: Readonly<Record<DemoMode, () => Promise<string | undefined>>> = {
  tap: async () => {
    if (process.getuid?.() !== 0) return 'you are not root'
    return tunObstacle() ?? runtimeObstacle()
  },
  userns: async () => {
    const tun = tunObstacle()
    if (tun !== undefined) return tun
    if (!isInstalled('unshare')) return 'unshare is not installed (package util-linux)'
    const { code, stderr } = await run(undefined, 'unshare', [
      ...UNSHARE,
      'sh',
      '-c',
      WITH_RUN,
      '-',
      'true',
    ])
    return code === 0 ? undefined : `no user namespaces here (${stderr.trim()})`
  },
  memory: async () => undefined,
}

function tunObstacle(): string | undefined {
  try {
    accessSync(TUN, constants.R_OK | constants.W_OK)
    return undefined
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' ? `there is no ${TUN}` : `${TUN} may not be opened by you`
  }
}

function runtimeObstacle(): string | undefined {
  try {
    new Runtime().close()
    return undefined
  } catch (error) {
    if (error instanceof StackError) return error.message
    throw error
  }
}

interface Chosen {
  readonly narrator: Narrator
  readonly options: DemoOptions
  readonly reasons: readonly string[]
}

const DESCRIPTIONS: Readonly<Record<DemoMode, string>> = {
  tap: 'real TAPs in network namespaces, as root',
  userns: 'real TAPs, inside a user namespace of your own: no root needed',
  memory: 'hosts in memory and virtual time; the same bridge, proxy ARP and router between them',
}

async function runMode(mode: DemoMode, { narrator, options, reasons }: Chosen): Promise<number> {
  narrator.say(`Mode ${mode}: ${DESCRIPTIONS[mode]}.`)
  for (const reason of reasons) narrator.say(`  (${reason})`)
  if (mode === 'userns') return enterNamespaces(options)
  if (mode === 'tap') await demoOnTaps({ narrator, ...options })
  else await demoInMemory({ narrator })
  return finish(narrator, options)
}

/** Become root of new namespaces, and start over there. */
function enterNamespaces({ keep, signal }: DemoOptions): Promise<number> {
  const args = [...UNSHARE, 'sh', '-c', WITH_RUN, '-', process.execPath, MAIN, 'demo']
  const child = spawn('unshare', [...args, ...(keep ? ['--keep'] : [])], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  })
  signal.addEventListener('abort', () => void child.kill(), { once: true })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
}

function finish(narrator: Narrator, { signal, keep }: DemoOptions): number {
  if (!signal.aborted || keep) narrator.say('\nNext: docs/, or tapline --help.')
  return 0
}
