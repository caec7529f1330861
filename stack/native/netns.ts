/**
 * Network namespaces, without starting a process.
 *
 * A thread is in one namespace at a time, and `setns` moves the calling thread: here always the
 * thread that runs JavaScript, for the length of one synchronous call, and back again. Sockets
 * and TAPs opened meanwhile belong to that namespace for good.
 *
 * A named namespace is a bind mount of `/proc/.../ns/net` on a file in /var/run/netns, as
 * `ip netns add` makes it (ip-netns(8)), so that `ip netns exec NAME` finds it.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  statfsSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import { StackError } from '../errors.ts'
import { check, close, mount, open, setns, umount2, unshare } from './libc.ts'

const CLONE_NEWNET = 0x4000_0000
const O_CLOEXEC = 0x8_0000
const MS_BIND = 0x1000
const MS_REC = 0x4000
const MS_SHARED = 0x10_0000
const MNT_DETACH = 2
const FOLDER = '/var/run/netns'
/** statfs(2) of a namespace's file: what is left of one that is gone is a plain file, or none. */
const NSFS_MAGIC = 0x6e73_6673
/** Of the thread, not of the process: a libuv worker may be elsewhere. */
const OWN = '/proc/thread-self/ns/net'

/** `name` → its file under /var/run/netns; `pid:N` → that process's; a path → itself. */
export function netnsPath(spec: string): string {
  if (spec.startsWith('/')) return spec
  const pid = /^pid:(\d+)$/.exec(spec)
  return pid === null ? `${FOLDER}/${spec}` : `/proc/${pid[1]}/ns/net`
}

/** True for a plain name: the only kind that we make and remove. */
export function isNamed(spec: string): boolean {
  return !spec.startsWith('/') && !spec.startsWith('pid:')
}

export function netnsExists(spec: string): boolean {
  return existsSync(netnsPath(spec))
}

/** All names, those of what is no namespace (any more) too. */
export function namedNetns(): string[] {
  return existsSync(FOLDER) ? readdirSync(FOLDER) : []
}

/** True if there is a namespace, and not only a file of its name. @throws if it is not told. */
export function isNetns(spec: string): boolean {
  try {
    return statfsSync(netnsPath(spec)).type === NSFS_MAGIC
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    throw error
  }
}

/** Which namespace that is, among those that live; undefined: there is none. */
export function netnsId(spec: string): number | undefined {
  return statSync(netnsPath(spec), { throwIfNoEntry: false })?.ino
}

/** An open namespace: stays alive and reachable while held. */
export class Netns {
  readonly fd: number
  readonly spec: string

  /** @throws StackError `not-found` if there is no such namespace. */
  constructor(spec: string) {
    const path = netnsPath(spec)
    const fd = open(path, O_CLOEXEC, 0)
    if (fd < 0) throw new StackError('not-found', `network namespace ${spec}: no ${path}`)
    this.fd = fd
    this.spec = spec
  }

  /** See {@link netnsId}. */
  get id(): number {
    return fstatSync(this.fd).ino
  }

  /** Run `work` with this thread in the namespace. `work` must not await. */
  run<T>(work: () => T): T {
    const back = check(open(OWN, O_CLOEXEC, 0), `open ${OWN}`)
    try {
      check(setns(this.fd, CLONE_NEWNET), `enter network namespace ${this.spec}`)
      try {
        return work()
      } finally {
        check(setns(back, CLONE_NEWNET), 'return from a network namespace')
      }
    } finally {
      close(back)
    }
  }

  close(): void {
    close(this.fd)
  }
}

/** A namespace without a name, which lives while it is held. */
export function anonymousNetns(): Netns {
  return inScratchNetns(() => new Netns(OWN))
}

/** Run `work` in the namespace `spec`. */
export function inNetns<T>(spec: string, work: () => T): T {
  const netns = new Netns(spec)
  try {
    return netns.run(work)
  } finally {
    netns.close()
  }
}

/** Make a named namespace. @throws StackError `exists` if the name is taken. */
export function addNetns(name: string): void {
  const path = netnsPath(name)
  mkdirSync(FOLDER, { recursive: true, mode: 0o755 })
  shareFolder()
  try {
    closeSync(openSync(path, 'wx', 0o444))
  } catch (cause) {
    throw new StackError('exists', `network namespace ${name} exists already`, { cause })
  }
  try {
    inScratchNetns(() => check(mount(OWN, path, 'none', MS_BIND, 0), `mount ${path}`))
  } catch (error) {
    unlinkSync(path)
    throw error
  }
}

/** Run `work` with this thread in a new namespace, which ends with it unless something stays. */
export function inScratchNetns<T>(work: () => T): T {
  const back = check(open(OWN, O_CLOEXEC, 0), `open ${OWN}`)
  try {
    check(unshare(CLONE_NEWNET), 'unshare a network namespace')
    try {
      return work()
    } finally {
      check(setns(back, CLONE_NEWNET), 'return from a network namespace')
    }
  } finally {
    close(back)
  }
}

/** Remove a named namespace; what still runs in it keeps it alive. Idempotent. */
export function deleteNetns(name: string): void {
  const path = netnsPath(name)
  if (!existsSync(path)) return
  umount2(path, MNT_DETACH)
  unlinkSync(path)
}

/** Mounts made below must be seen by every mount namespace, as `ip netns` arranges. */
function shareFolder(): void {
  if (mount('', FOLDER, 'none', MS_SHARED | MS_REC, 0) >= 0) return
  check(mount(FOLDER, FOLDER, 'none', MS_BIND | MS_REC, 0), `bind ${FOLDER}`)
  check(mount('', FOLDER, 'none', MS_SHARED | MS_REC, 0), `share ${FOLDER}`)
}
