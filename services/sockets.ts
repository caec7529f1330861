/**
 * Where daemons listen, and which of them is meant.
 *
 * A daemon listens at `DIR/NAME.sock`. DIR is /run/tapline for root; an ordinary user's daemons
 * (in a user namespace) are below XDG_RUNTIME_DIR, or below the temporary folder. Commands look in
 * both, ask each socket, and take the only one that answers.
 *
 * A socket file outlives a daemon that was killed. Whoever starts next takes it over: the file is
 * first renamed, which only one of several starters can do, and then asked once more under its new
 * name, so that a daemon that started in between is put back and not robbed.
 */
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { StackError } from '../stack/errors.ts'

const ROOT_DIR = '/run/tapline'
/** `sun_path` of unix(7) less its terminating zero. */
const PATH_BYTES_MAX = 107
const ASK_MS = 2000

/** Folder for the sockets of daemons that this user starts. */
function socketDir(): string {
  if (process.getuid?.() === 0) return ROOT_DIR
  return userDir()
}

function userDir(): string {
  const { XDG_RUNTIME_DIR: dir } = process.env
  return dir ? join(dir, 'tapline') : join(tmpdir(), `tapline-${process.getuid?.() ?? 0}`)
}

/** Folders in which commands look, nearest first. */
function searchDirs(): string[] {
  return [...new Set([socketDir(), ROOT_DIR, userDir()])]
}

/** Where the daemon of this name listens by default. */
export function socketPath(name: string): string {
  return join(socketDir(), `${name}.sock`)
}

/** True if somebody accepts connections there. */
export function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const done = (alive: boolean): void => {
      socket.destroy()
      resolve(alive)
    }
    socket.setTimeout(ASK_MS, () => done(true))
    socket.on('connect', () => done(true))
    // Full backlog (EAGAIN) and no permission (EACCES) are signs of life.
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      done(code === 'EAGAIN' || code === 'EACCES')
    })
  })
}

/**
 * Make the path free to listen at: its folder is made, a dead daemon's socket removed.
 *
 * @throws StackError `exists` if a daemon lives there, or if it is something else than a socket.
 */
export async function claimPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) {
    throw new StackError(
      'bad-argument',
      `${path}: a socket's path has at most ${PATH_BYTES_MAX} octets`,
    )
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new StackError('exists', `${path} exists and is not a socket`)
  if (await isAlive(path)) throw inUse(path)
  const aside = `${path}.${process.pid}`
  try {
    renameSync(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  const alive = await isAlive(aside)
  if (alive) linkSync(aside, path)
  unlinkSync(aside)
  if (alive) throw inUse(path)
}

/**
 * The same for a daemon of ours: only the folder that sockets are in by default is made. Another
 * one that is not there is a slip of the pen, or somebody else's to make.
 *
 * @throws StackError as {@link claimPath}; `bad-argument` if there is no such folder.
 */
export async function claimOwnPath(path: string): Promise<void> {
  const folder = dirname(path)
  if (folder !== socketDir() && !existsSync(folder)) {
    throw new StackError('bad-argument', `${path}: there is no folder ${folder}`)
  }
  await claimPath(path)
}

/** The error of a second daemon at one socket. */
export function inUse(path: string): StackError {
  return new StackError('exists', `a daemon already listens at ${path}`)
}

/** Sockets of living daemons in these folders. */
export async function livingSockets(dirs: readonly string[]): Promise<string[]> {
  const paths = dirs.flatMap((dir) => {
    try {
      return readdirSync(dir).flatMap((file) => (file.endsWith('.sock') ? [join(dir, file)] : []))
    } catch {
      return [] // Not there, or not ours to read: no daemon of ours is in it.
    }
  })
  const alive = await Promise.all(paths.map(isAlive))
  return paths.filter((_, i) => alive[i])
}

export interface Wanted {
  /** A socket's path: taken as it is. */
  readonly socket?: string | undefined
  /** A daemon's name. */
  readonly name?: string | undefined
}

/**
 * The socket of the daemon that a command is for.
 *
 * @throws StackError `daemon` if there is none, `exists` if there are several and none was named.
 */
export async function findSocket(
  { socket, name }: Wanted,
  dirs: readonly string[] = searchDirs(),
): Promise<string> {
  if (socket !== undefined) return socket
  const living = await livingSockets(dirs)
  const fitting = name === undefined ? living : living.filter((path) => nameOf(path) === name)
  if (fitting.length === 1) return fitting[0]!
  if (fitting.length === 0) {
    const which = name === undefined ? 'no daemon is running' : `no daemon "${name}" is running`
    throw new StackError(
      'daemon',
      `${which} (looked in ${dirs.join(', ')}; start: tapline up FILE)`,
    )
  }
  const names = fitting.map((path) => `${nameOf(path)} (${path})`).join(', ')
  throw new StackError('exists', `several daemons are running: ${names}; say --name or --socket`)
}

/** Name of the daemon whose default socket this is. */
function nameOf(path: string): string {
  return basename(path, '.sock')
}
