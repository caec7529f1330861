/**
 * Names of namespaces for sandboxes on TAPs: `tlPID-RANDOM-NUMBER-NAME`.
 *
 * Namespaces are the machine's: fabrics of several processes must not meet in one, nor those of
 * several threads of a process, each of which has this module for itself.
 */
import { randomBytes } from 'node:crypto'

const OWN = `tl${process.pid}-${randomBytes(4).toString('hex')}`
/** What {@link uniqueNetns} gives, in whichever process. */
export const FABRIC_NETNS: RegExp = /^tl\d+-[\da-f]{8}-\d+-/

let count = 0

export function uniqueNetns(name: string): string {
  return `${OWN}-${count++}-${name}`
}
