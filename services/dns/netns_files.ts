/**
 * /etc/netns/NAME/resolv.conf: what `ip netns exec NAME` lays over /etc/resolv.conf (ip-netns(8)).
 * Written for namespaces that we made, and removed with them. A file that somebody else wrote
 * stays as it is.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { StackError } from '../../stack/errors.ts'
import { MARK } from './resolv_conf.ts'

const FOLDER = '/etc/netns'

/**
 * @param text - undefined: remove it. Idempotent.
 * @throws StackError `exists` if the file is not ours.
 */
export function writeResolvConf(netns: string, text: string | undefined): void {
  const folder = `${FOLDER}/${netns}`
  const file = `${folder}/resolv.conf`
  const there = existsSync(file)
  if (there && !readFileSync(file, 'utf8').startsWith(MARK)) {
    if (text === undefined) return
    throw new StackError('exists', `${file} is not of tapline, and stays as it is`)
  }
  if (text !== undefined) {
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    writeFileSync(file, text, { mode: 0o644 })
    return
  }
  if (!there) return
  rmSync(file)
  for (const empty of [folder, FOLDER]) {
    try {
      rmdirSync(empty)
    } catch {
      return // Something else is in it.
    }
  }
}
