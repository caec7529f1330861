/**
 * A way through Docker's own firewall.
 *
 * Docker sets the host's FORWARD chain to drop, which what comes from and goes to our interface
 * has to pass as well. It leaves its users a chain of their own, `DOCKER-USER`, which it asks first
 * and keeps over its restarts; two rules there accept all that is ours. What may pass is then for
 * our tables and policies to say, which see both directions of it.
 *
 * The rules are written with `iptables`, as Docker's are: where there is no such program, or no
 * such chain (Docker runs with `--iptables=false`), there is nothing to get through.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Log } from '../log.ts'

const CHAIN = 'DOCKER-USER'
const PROGRAMS = ['iptables', 'ip6tables'] as const
/** It may wait for another one that holds the lock. */
const LIMIT_MS = 10_000
/** Daemons are often started without the folders of administrators. */
const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`

/** Have what comes from and goes to an interface accepted. Harmless if it is already. */
export async function acceptForwarded(interfaceName: string, log: Log): Promise<void> {
  for (const program of PROGRAMS) {
    if (!(await iptables(program, ['-n', '-L', CHAIN]))) continue
    for (const rule of rules(interfaceName)) {
      if (await iptables(program, ['-C', CHAIN, ...rule])) continue
      if (!(await iptables(program, ['-I', CHAIN, ...rule]))) {
        log.warn({ program, rule: rule.join(' ') }, `a rule in ${CHAIN} could not be made`)
      }
    }
  }
}

/** Take the rules back. */
export async function refuseForwarded(interfaceName: string): Promise<void> {
  for (const program of PROGRAMS) {
    for (const rule of rules(interfaceName)) await iptables(program, ['-D', CHAIN, ...rule])
  }
}

function rules(interfaceName: string): string[][] {
  return [
    ['-i', interfaceName, '-j', 'ACCEPT'],
    ['-o', interfaceName, '-j', 'ACCEPT'],
  ]
}

/** False: it failed, or there is no such program. */
async function iptables(program: string, args: readonly string[]): Promise<boolean> {
  const options = { timeout: LIMIT_MS, env: { ...process.env, PATH, LC_ALL: 'C' } }
  try {
    await promisify(execFile)(program, ['-w', ...args], options)
    return true
  } catch {
    return false
  }
}
