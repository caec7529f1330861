/**
 * Network namespaces of the benchmark: made under names that carry our process id, removed at the
 * end whatever happens. Here the text interface of `ip` is good enough: it runs between the
 * measurements, never in them.
 */
import { readFileSync } from 'node:fs'
import { atExit } from './cleanup.ts'
import { run, runSync } from './shell.ts'

/** Every namespace made by this run begins with it. */
export const PREFIX: string = `tlb${process.pid}-`

/** The interface under test has this name in every namespace, unless the system names it itself. */
export const INTERFACE = 'eth0'

/** Make a namespace with its loopback up; removed at the end. */
export function addNetns(name: string): void {
  runSync(['ip', 'netns', 'add', name])
  atExit(() => runSync(['ip', 'netns', 'del', name]))
  runSync(['ip', '-n', name, 'link', 'set', 'lo', 'up'])
}

/** Names of all namespaces under /var/run/netns. */
export function listNetns(): string[] {
  const lines = runSync(['ip', 'netns', 'list']).split('\n')
  return lines.map((line) => line.split(' ')[0] ?? '').filter((name) => name !== '')
}

/** Names of all interfaces of the host's own namespace. */
export function listLinks(): string[] {
  const lines = runSync(['ip', '-o', 'link']).split('\n')
  return lines.map((line) => line.split(': ')[1] ?? '').filter((name) => name !== '')
}

/** The command that runs `argv` inside a namespace. */
export function inNetns(name: string, argv: readonly string[]): string[] {
  return ['ip', 'netns', 'exec', name, ...argv]
}

/** The command that runs `argv` on the given CPUs (`0`, `0,1`). */
export function onCpus(cpus: string, argv: readonly string[]): string[] {
  return ['taskset', '-c', cpus, ...argv]
}

/** Change an interface, in the words of ip-link(8). */
export function setLink(netns: string, link: string, ...change: readonly string[]): void {
  runSync(['ip', '-n', netns, 'link', 'set', link, ...change])
}

export function addAddress(netns: string, link: string, address: string): void {
  runSync(['ip', '-n', netns, 'addr', 'add', address, 'dev', link])
}

/** Move `link` from `from` into `to` as {@link INTERFACE}, with its address, and up. */
export function adopt(
  link: string,
  { from, to, address }: { from: string; to: string; address: string },
): void {
  setLink(from, link, 'netns', to)
  setLink(to, link, 'name', INTERFACE)
  addAddress(to, INTERFACE, address)
  setLink(to, INTERFACE, 'up')
}

/** Set a kernel parameter of a namespace: `net.ipv4.ip_forward`. */
export function setSysctl(netns: string, name: string, value: string): void {
  runSync(inNetns(netns, ['sysctl', '-qw', `${name}=${value}`]))
}

/** Frames that {@link INTERFACE} may queue towards its reader, if it is a TAP. */
export function txQueueLength(netns: string): number {
  const text = runSync(['ip', '-n', netns, 'link', 'show', INTERFACE])
  return Number(/qlen (\d+)/.exec(text)?.[1] ?? 0)
}

const SILENCER = 'tapline_bench'

/**
 * Keep the kernel of a namespace from TCP segments that arrive at `link` for (`dport`) or from
 * (`sport`) a port, so that a process can answer them by a packet socket, which sees them earlier.
 * The result undoes it.
 */
export function silence(
  netns: string,
  { link, match, port }: { link: string; match: 'dport' | 'sport'; port: number },
): () => void {
  const nft = (...words: string[]): string => runSync(inNetns(netns, ['nft', words.join(' ')]))
  const chain = `${SILENCER} ingress`
  nft('add table netdev', SILENCER)
  nft(`add chain netdev ${chain} { type filter hook ingress device ${link} priority 0; }`)
  nft(`add rule netdev ${chain} tcp ${match} ${port} drop`)
  return () => nft('delete table netdev', SILENCER)
}

/** Segmentation, coalescing and checksums left to the other side, or done by the sending kernel. */
export async function setOffloads(netns: string, link: string, on: boolean): Promise<void> {
  const value = on ? 'on' : 'off'
  const features = ['tx', 'tso', 'gso', 'gro'].flatMap((feature) => [feature, value])
  await run(inNetns(netns, ['ethtool', '-K', link, ...features]))
}

export interface InterfaceCounts {
  readonly rxBytes: number
  readonly txBytes: number
  readonly txPackets: number
  /** Refused by the interface itself: by a TAP whose queue is full. */
  readonly txDropped: number
}

/**
 * Counters of an interface as a process sees it, read without starting a program:
 * /proc/PID/net belongs to the network namespace of process PID.
 */
export function counts(pid: number, link: string = INTERFACE): InterfaceCounts {
  return parseCounts(readFileSync(`/proc/${pid}/net/dev`, 'latin1'), link)
}

/** Columns of /proc/net/dev before those of transmission. */
const RX_FIELDS = 8

/** @throws Error if the interface is not listed. */
export function parseCounts(text: string, name: string): InterfaceCounts {
  const line = text.split('\n').find((candidate) => candidate.trim().startsWith(`${name}:`))
  if (line === undefined) throw new Error(`no interface ${name}`)
  const fields = line.slice(line.indexOf(':') + 1)
  const values = fields.trim().split(/\s+/).map(Number)
  const [rxBytes = 0] = values
  const [txBytes = 0, txPackets = 0, , txDropped = 0] = values.slice(RX_FIELDS)
  return { rxBytes, txBytes, txPackets, txDropped }
}

/** UDP datagrams over IPv4 that reached the sockets of a process's network namespace. */
export function datagrams(pid: number): number {
  return parseDatagrams(readFileSync(`/proc/${pid}/net/snmp`, 'latin1'))
}

/** Those that were read and those that overran a buffer. @throws Error if UDP is not listed. */
export function parseDatagrams(text: string): number {
  const [names, values] = text.split('\n').filter((line) => line.startsWith('Udp:'))
  if (names === undefined || values === undefined) throw new Error('no counters of UDP')
  const columns = names.split(' ')
  const read = (name: string): number => Number(values.split(' ')[columns.indexOf(name)])
  return read('InDatagrams') + read('InErrors')
}

const LISTEN = '0A'

/** True if a process of that network namespace listens on this TCP port. */
export function listens(pid: number, port: number): boolean {
  const end = `:${portText(port)}`
  return ['tcp', 'tcp6'].some((table) =>
    sockets(pid, table).some(({ local, state }) => state === LISTEN && local.endsWith(end)),
  )
}

/** True if a process of that network namespace has this UDP port at this IPv4 address. */
export function hears(pid: number, address: string, port: number): boolean {
  const octets = address.split('.').map(Number).reverse()
  const wanted = `${Buffer.from(octets).toString('hex').toUpperCase()}:${portText(port)}`
  return sockets(pid, 'udp').some(({ local }) => local === wanted)
}

function portText(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0')
}

function sockets(pid: number, table: string): { local: string; state: string }[] {
  const [, ...lines] = readFileSync(`/proc/${pid}/net/${table}`, 'latin1').trim().split('\n')
  return lines.map((line) => {
    const [, local = '', , state = ''] = line.trim().split(/\s+/)
    return { local, state }
  })
}
