/**
 * Network namespaces that this process made for sandboxes, and so removes.
 *
 * A process that is killed cannot remove anything. So each namespace says whose it is, in the alias
 * of its `lo`; who finds one there whose maker is gone takes it over, as if it had made it:
 *
 * ```text
 *   not there                       made, marked, removed at the end
 *   there, its maker is gone        marked anew,  removed at the end
 *   there, without a mark, or its maker lives     used, and left as it is
 * ```
 * A maker in another PID namespace cannot be looked for, and counts as living.
 */
import { readFileSync, readlinkSync } from 'node:fs'
import { StackError } from '../stack/errors.ts'
import { withNetlink } from '../stack/native/netlink.ts'
import {
  addNetns,
  deleteNetns,
  inNetns,
  isNamed,
  isNetns,
  namedNetns,
  netnsExists,
} from '../stack/native/netns.ts'
import { attemptEach } from './attempt_all.ts'
import { writeResolvConf } from './dns/netns_files.ts'

const LOOPBACK = 'lo'
const MARK = /^tapline (pid:\[\d+\]) (\d+) (\d+)$/

export class MadeNamespaces {
  readonly #names = new Set<string>()

  /**
   * Have the namespace there, its `lo` up if it is ours.
   * @throws StackError `not-found` for one that is named by a path or a process and is not there.
   */
  prepare(netns: string): void {
    if (netnsExists(netns)) {
      if (this.has(netns) || !isNamed(netns) || !isOrphan(netns)) return
    } else if (isNamed(netns)) addNetns(netns)
    else throw new StackError('not-found', `no network namespace ${netns}`)
    this.#names.add(netns)
    mark(netns)
  }

  has(netns: string): boolean {
    return this.#names.has(netns)
  }

  /** Idempotent; others' namespaces stay, also one that was made anew under the name. */
  remove(netns: string): void {
    if (!this.#names.delete(netns)) return
    const maker = isNetns(netns) ? markOf(netns) : ownMark()
    const isOurs = maker === ownMark()
    try {
      // Beside a namespace that another tapline made is its own file.
      if (isOurs || !MARK.test(maker ?? '')) writeResolvConf(netns, undefined)
    } finally {
      if (isOurs) deleteNetns(netns)
    }
  }

  /** All is tried. @throws AggregateError of what failed. */
  removeAll(): void {
    attemptEach([...this.#names].map((netns) => () => this.remove(netns)))
  }
}

/** Remove namespaces whose names nobody will use again, and whose makers are gone. */
export function removeOrphans(named: RegExp): void {
  for (const netns of namedNetns()) {
    if (!named.test(netns)) continue
    try {
      if (!isOrphan(netns)) continue
      writeResolvConf(netns, undefined)
      deleteNetns(netns)
    } catch {
      // Somebody else removes it meanwhile, or it is none.
    }
  }
}

function mark(netns: string): void {
  const alias = ownMark()
  inNetns(netns, () => {
    withNetlink((netlink) => {
      const link = netlink.link(LOOPBACK)
      if (link !== undefined) netlink.setLink(link.index, { alias, up: true })
    })
  })
}

function markOf(netns: string): string | undefined {
  return inNetns(netns, () => withNetlink((netlink) => netlink.link(LOOPBACK)?.alias))
}

function ownMark(): string {
  return `tapline ${pidNamespace()} ${process.pid} ${startOf(process.pid)}`
}

function isOrphan(netns: string): boolean {
  const [, where, pid, start] = MARK.exec(markOf(netns) ?? '') ?? []
  return where === pidNamespace() && startOf(Number(pid)) !== start
}

function pidNamespace(): string {
  return readlinkSync('/proc/self/ns/pid')
}

/** When a process began, in the kernel's ticks; undefined: there is none of this number. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name may have spaces and parentheses; the fields after it are fixed (proc_pid_stat(5)).
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_FIELD]
  } catch {
    return undefined
  }
}

/** Of the fields after the name. */
const START_FIELD = 19
