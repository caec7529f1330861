/**
 * What a machine of its own for a container runtime is made of: a mount namespace whose /run is
 * empty, the files of an image, and all processes that must have ended when the machine has.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

/** Where containerd listens on such a machine. */
export const CONTAINERD = '/run/containerd/containerd.sock'

/** For a shell in new mount and network namespaces: a /run, and an `lo`, that are nobody else's. */
export const ENTER_HOST = 'mount --make-rprivate / && mount -t tmpfs none /run && ip link set lo up'

/** Files of an image: busybox, as these programs. */
export function makeImageFolder(root: string, programs: readonly string[]): void {
  mkdirSync(join(root, 'bin'), { recursive: true })
  cpSync('/bin/busybox', join(root, 'bin/busybox'))
  for (const name of programs) symlinkSync('busybox', join(root, 'bin', name))
}

/**
 * Processes in a mount namespace (`mnt:[...]`, as its link says), and their children: shims and
 * what they run in namespaces of their own outlive who started them.
 */
export function processesOf(space: string): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const parents = new Map<number, number>()
  const found = new Set<number>()
  for (const pid of all.map(Number)) {
    try {
      if (readlinkSync(`/proc/${pid}/ns/mnt`) === space) found.add(pid)
      const [, parent] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
      parents.set(pid, Number(parent))
    } catch {
      // It has ended.
    }
  }
  for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid)
  return [...found]
}
