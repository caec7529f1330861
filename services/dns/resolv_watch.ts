/**
 * Tells when a file changed, however that is done: written in place, replaced, another end of its
 * link (systemd-resolved), or bound over the place where it is seen (container runtimes), where
 * only the file itself says so.
 *
 * ```text
 *   the folder of the path, the folder that the link ends in, the file ──inotify──► changed
 * ```
 *
 * Nothing polls, and nothing of this keeps the process alive. What cannot be watched is not.
 */
import { type FSWatcher, realpathSync, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { clearImmediate, setImmediate } from 'node:timers'
import type { Cancel } from '../../stack/clock.ts'

/** Call after changes; several at a time may be one call. */
export function watchFile(path: string, changed: () => void): Cancel {
  let watchers: FSWatcher[] = []
  let due: NodeJS.Immediate | undefined
  const end = (): void => {
    for (const watcher of watchers) watcher.close()
    watchers = []
  }
  const tell = (): void => {
    due ??= setImmediate(() => {
      due = undefined
      // What was watched may be another file by now.
      end()
      begin()
      changed()
    })
  }
  const begin = (): void => {
    const real = realPath(path)
    const names = [basename(path), basename(real)]
    for (const place of new Set([dirname(path), dirname(real), real])) {
      const heard = (_event: string, name: string | null): void => {
        if (place === real || name === null || names.includes(name)) tell()
      }
      try {
        watchers.push(watch(place, { persistent: false }, heard).on('error', () => {}))
      } catch {
        // It is not there, or there are no watches left: the file is read when it is needed.
      }
    }
  }
  begin()
  return () => {
    if (due !== undefined) clearImmediate(due)
    end()
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}
