/** Names of hosts, as files have them. */
import { StackError } from '../../stack/errors.ts'

/** A host label of RFC 1123 §2.1: names become parts of DNS names, sockets and devices. */
export const LABEL: RegExp = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i
/** So that a network's name still fits behind it. */
const ALIAS_MAX = 180

/** A name of one or more labels, the first of which may be an asterisk. @throws StackError. */
export function readAlias(written: string): string {
  const labels = written.replace(/^\*\./, '').split('.')
  if (written.length <= ALIAS_MAX && labels.every((label) => LABEL.test(label))) return written
  const message = `"${written}" is not an alias, such as "web", "*.web" or "db.lan"`
  throw new StackError('bad-config', message)
}
