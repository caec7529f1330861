/**
 * One daemon a state file: two that keep their records in one destroy each other's.
 *
 * The lock is flock(2) on a file beside it, as the state file itself is replaced while it is held.
 * It ends with the process, however that ends; the file names who holds it, for people.
 *
 * The file is removed while it is locked, so whoever gets the lock looks whether the file is still
 * the one that the name leads to, and else tries again.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { StackError } from '../../stack/errors.ts'
import { check, Errno, errno, flock } from '../../stack/native/libc.ts'

const LOCK_EXCLUSIVE_NOW = 2 | 4
const { O_CREAT, O_RDWR } = constants
/** Each time another daemon has ended in between. */
const ATTEMPTS_MAX = 16

/** Have a state file to oneself until the answer is called. @throws StackError `exists`. */
export function lockState(statePath: string): () => void {
  const path = `${statePath}.lock`
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const fd = openSync(path, O_RDWR | O_CREAT, 0o600)
    try {
      if (flock(fd, LOCK_EXCLUSIVE_NOW) < 0) refuse(statePath, path)
      if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) {
        ftruncateSync(fd)
        writeSync(fd, `${process.pid}\n`)
        return () => {
          rmSync(path, { force: true })
          closeSync(fd)
        }
      }
    } catch (error) {
      closeSync(fd)
      throw error
    }
    closeSync(fd)
  }
  throw new StackError('exists', `${path} comes and goes: other daemons use the same --state`)
}

/** Precondition: asked right after flock. */
function refuse(statePath: string, path: string): never {
  if (errno() !== Errno.Again) check(-1, `lock ${path}`)
  const pid = readFileSync(path, 'utf8').trim()
  const who = pid === '' ? 'another daemon' : `another daemon, pid ${pid},`
  const hint = 'a second one needs a --state and a --socket of its own'
  throw new StackError('exists', `${who} keeps its record in ${statePath}; ${hint}`)
}
