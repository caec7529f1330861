/**
 * Settings of the host under /proc/sys that forwarding needs: what they must be, and what they
 * were. Only what is off is turned on.
 *
 * The kernel's two switches are not alone: turning one sets `forwarding` of every interface, and
 * IPv4's also `accept_redirects`, so these are remembered too. A host that forwards IPv6 no longer
 * heeds router advertisements, and would lose the default route that it has by them, unless
 * `accept_ra` is 2; so interfaces that heed them get that first.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { Family } from '../../stack/address.ts'

/** `key`: a path under /proc/sys. */
export interface Setting {
  readonly key: string
  readonly value: string
}

/** What is to be set, in order, and what it takes to put everything back, in order. */
export interface Forwarding {
  readonly set: readonly Setting[]
  readonly before: readonly Setting[]
}

/** What it takes to forward these families. @param except - an interface that is ours. */
export function forwarding(families: readonly Family[], except: string): Forwarding {
  const set: Setting[] = []
  const before: Setting[] = []
  for (const family of families) {
    const conf = `net/ipv${family}/conf`
    const key = family === 4 ? 'net/ipv4/ip_forward' : `${conf}/all/forwarding`
    if (read(key) !== '0') continue
    const names = readdirSync(`/proc/sys/${conf}`).filter(
      (name) => name !== except && isPlain(name),
    )
    const those = (leaf: string, value: string): Setting[] =>
      names.map((name) => ({ key: `${conf}/${name}/${leaf}`, value })).filter(isNow)
    const heeding = family === 6 ? those('accept_ra', '1').filter(isInterface) : []
    const redirects = `${conf}/all/accept_redirects`
    before.push({ key, value: '0' }, ...those('forwarding', '1'), ...heeding)
    if (family === 4) before.push({ key: redirects, value: read(redirects) })
    set.push(...heeding.map((setting) => ({ ...setting, value: '2' })), { key, value: '1' })
  }
  return { set, before }
}

/** Set them in order. Interfaces may have gone meanwhile. */
export function write(settings: readonly Setting[]): void {
  for (const { key, value } of settings) {
    const file = `/proc/sys/${key}`
    if (existsSync(file)) writeFileSync(file, value)
  }
}

export function formatSetting({ key, value }: Setting): string {
  return `${key}=${value}`
}

/** Undefined: the line is no setting that we could have made. */
export function parseSetting(line: string): Setting | undefined {
  const [, key, value] = /^(net\/ipv[46](?:\/[\w@:.-]+)+)=(\d)$/.exec(line) ?? []
  if (key === undefined || value === undefined || /(^|\/)\.\.?(\/|$)/.test(key)) return undefined
  return { key, value }
}

function read(key: string): string {
  const file = `/proc/sys/${key}`
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : ''
}

function isNow({ key, value }: Setting): boolean {
  return read(key) === value
}

function isInterface({ key }: Setting): boolean {
  return !/\/(all|default)\/accept_ra$/.test(key)
}

/** A name that can be quoted; others are left as they are. */
function isPlain(name: string): boolean {
  return /^[\w@:.-]+$/.test(name)
}
