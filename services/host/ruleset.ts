/**
 * The table of rules on the host, as text for nft.
 *
 * ```text
 *   guard   prerouting, raw   nothing between 127.0.0.0/8 and the TAP; nobody from elsewhere
 *                             reaches the transfer net by its own addresses
 *   in      prerouting, nat   to the host, from others -+
 *   own     output, nat       to the host, from itself -+-> ports: destination becomes the
 *                                                           router, or a stand-in of the address
 *   out     postrouting, nat  loopback sources to the TAP, and the router's sources from it, get
 *                             the address of the interface that they leave by
 *   before  never run         settings of the host to be put back, as comments
 * ```
 *
 * Published ports are elements of sets: `any4` and `any6` for every address of the host, `bound4`
 * and `bound6` for one. Adding one touches no rule. Sources stay what they are, so that sandboxes
 * see their clients, but for loopback addresses, which no other stack can answer.
 */
import { type Address, type Family, formatAddress, formatPrefix } from '../../stack/address.ts'
import type { HostPort } from '../links.ts'

/** Tables of ours begin like this. */
export const TABLE_PREFIX = 'tapline_'
/** The chain that holds what must be put back. */
export const BEFORE = 'before'

/** One family of the transfer net. */
export interface TransferNet {
  readonly family: Family
  readonly router: Address
  readonly host: Address
  /** The whole net. */
  readonly bits: number
}

export interface TableOptions {
  readonly table: string
  readonly interfaceName: string
  readonly nets: readonly TransferNet[]
  /** Lines of the chain {@link BEFORE}. */
  readonly before: readonly string[]
}

/** A script that makes the table, in place of one that was left. */
export function tableScript({ table, interfaceName, nets, before }: TableOptions): string {
  const lines = (of: (net: TransferNet) => readonly string[]): string[] => nets.flatMap(of)
  const tap = `"${interfaceName}"`
  return [
    `table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    ...lines(({ family }) => [
      `set any${family} { type inet_proto . inet_service; flags interval; }`,
      `map bound${family} {`,
      `type ${type(family)} . inet_proto . inet_service : ${type(family)}; flags interval;`,
      '}',
    ]),
    ...chain(BEFORE, undefined, before.map(remember)),
    ...chain('guard', 'filter hook prerouting priority -300', [
      `iifname ${tap} ip saddr 127.0.0.0/8 drop`,
      `iifname ${tap} ip daddr 127.0.0.0/8 drop`,
      ...lines((net) => [`iifname != { "lo", ${tap} } ${ip(net)} daddr ${whole(net)} drop`]),
    ]),
    ...chain('ports', undefined, lines(portRules)),
    ...chain('in', 'nat hook prerouting priority -100', [
      `iifname != ${tap} fib daddr type local jump ports`,
    ]),
    ...chain('own', 'nat hook output priority -100', ['fib daddr type local jump ports']),
    ...chain('out', 'nat hook postrouting priority 100', lines(sourceRules(tap))),
    '}',
    '',
  ].join('\n')
}

/** A port of one address before the same port of all. */
function portRules(net: TransferNet): string[] {
  const what = 'meta l4proto . th dport'
  const { family } = net
  const to = `dnat ${ip(net)} to`
  return [
    `${to} ${ip(net)} daddr . ${what} map @bound${family}`,
    `meta nfproto ipv${family} ${what} @any${family} ${to} ${formatAddress(net.router)}`,
  ]
}

function sourceRules(tap: string): (net: TransferNet) => string[] {
  return (net) => {
    const from = `${ip(net)} saddr`
    const loopback = net.family === 4 ? '127.0.0.0/8' : '::1'
    return [
      `oifname ${tap} ${from} ${loopback} snat ${ip(net)} to ${formatAddress(net.host)}`,
      `oifname != { "lo", ${tap} } ${from} ${whole(net)} masquerade`,
    ]
  }
}

/** One line of the chain {@link BEFORE}. */
function remember(line: string): string {
  return `return comment "${line}"`
}

/** Have another table of ours remember these as well. */
export function handOverScript(table: string, before: readonly string[]): string {
  return before.map((line) => `add rule inet ${table} ${BEFORE} ${remember(line)}\n`).join('')
}

/** The element of a port. `standIn`: where what is asked of its one address goes. */
export function portElement(
  { protocol, family, address, port, count }: HostPort,
  standIn: Address | undefined,
): string {
  const what = `${protocol} . ${count === 1 ? port : `${port}-${port + count - 1}`}`
  if (address === undefined || standIn === undefined) return `any${family} { ${what} }`
  return `bound${family} { ${formatAddress(address)} . ${what} : ${formatAddress(standIn)} }`
}

/** Add or delete elements. */
export function elementsScript(
  action: 'add' | 'delete',
  table: string,
  elements: readonly string[],
): string {
  return elements.map((element) => `${action} element inet ${table} ${element}\n`).join('')
}

function chain(name: string, base: string | undefined, rules: readonly string[]): string[] {
  const head = base === undefined ? [] : [`type ${base}; policy accept;`]
  return [`chain ${name} {`, ...head, ...rules, '}']
}

function type(family: Family): string {
  return `ipv${family}_addr`
}

function ip({ family }: TransferNet): string {
  return family === 4 ? 'ip' : 'ip6'
}

function whole({ router, bits }: TransferNet): string {
  return formatPrefix({ address: router, bits })
}
