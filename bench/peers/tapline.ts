/** tapline itself: its command line, started as a user would start it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inNetns, onCpus } from '../netns.ts'
import { type Background, background } from '../shell.ts'
import {
  CLIENT,
  CONNECT_PORT,
  IPERF_PORT,
  type Opened,
  OUTER_ADDRESS,
  OUTSIDE,
  type Peer,
  type Place,
  RAW_PORT,
  ROUTED_SERVER,
  type Settings,
  SWITCHED_SERVER,
  VIP,
} from './peer.ts'

/** The command line, as it was built. */
export const CLI: string = join(import.meta.dirname, '..', '..', 'services', 'cli', 'main.js')

/** A sandbox of a generated file. */
export interface SandboxSpec {
  readonly name: string
  readonly netns: string
  readonly network: string
  readonly address: string
  /** Further names. */
  readonly aliases?: readonly string[]
  /** Who it asks for names that are not here. */
  readonly dns?: string
  /** Published, in Compose's grammar. */
  readonly ports?: readonly string[]
}

/**
 * The file for `tapline up`: networks by name with their subnets, and sandboxes.
 * @param more Further sections, as lines.
 */
export function taplineFile(
  name: string,
  networks: Readonly<Record<string, string>>,
  sandboxes: readonly SandboxSpec[],
  more: readonly string[] = [],
): string {
  const network = ([key, subnet]: [string, string]): string =>
    `  ${key}: { driver: bridge, ipam: { config: [ { subnet: ${subnet} } ] } }`
  const sandbox = (spec: SandboxSpec): string => {
    const { name: key, netns, network: on, address, aliases, dns, ports } = spec
    const asks = dns === undefined ? '' : `, dns: ${dns}`
    const published = ports === undefined ? '' : `, ports: ${JSON.stringify(ports)}`
    const called = aliases === undefined ? '' : `, aliases: ${JSON.stringify(aliases)}`
    const joined = `networks: { ${on}: { ipv4_address: ${address}${called} } }`
    return `  ${key}: { netns: ${netns}, ${joined}${asks}${published} }`
  }
  const lines = [
    `name: ${name}`,
    'networks:',
    ...Object.entries(networks).map(network),
    'sandboxes:',
    ...sandboxes.map(sandbox),
    ...more,
  ]
  return `${lines.join('\n')}\n`
}

/** Of the file that the daemon is started with, in the folder where its socket is too. */
export const FILE_NAME = 'bench.yaml'

/** Write the file, start the daemon with it and wait until traffic can pass. */
export function startTapline(
  text: string,
  { folder, limitMs, netns }: { folder: string; limitMs?: number; netns?: string },
  { engine, systemCpus }: Settings,
): Promise<Background> {
  const file = join(folder, FILE_NAME)
  writeFileSync(file, text)
  const socket = ['--socket', join(folder, 'tapline.sock')]
  const argv = [process.execPath, CLI, 'up', file, ...socket, '--engine', engine]
  const ready = /^ready .*\n/m
  const command = onCpus(systemCpus, [...argv, '--log-level', 'warn'])
  return background(
    netns === undefined ? command : inNetns(netns, command),
    limitMs === undefined ? { ready } : { ready, limitMs },
  )
}

const NETWORKS = { front: '10.77.1.0/24', back: '10.77.2.0/24' } as const

/** The I/O engine that a daemon says it runs on. */
export function engineOf({ readyLine }: Background, { engine }: Settings): string {
  return /tap \((\w+)\)/.exec(readyLine)?.[1] ?? engine
}

async function open(text: string, { folder }: Place, settings: Settings): Promise<Opened> {
  const daemon = await startTapline(text, { folder }, settings)
  const engine = engineOf(daemon, settings)
  return { about: `tapline up, ${engine}`, engine, close: daemon.stop }
}

/** Client and server as sandboxes. */
function pairFile(
  { client, server }: Pick<Place, 'client' | 'server'>,
  far: { readonly network: keyof typeof NETWORKS; readonly address: string },
  more?: readonly string[],
): string {
  const near = { network: 'front', address: CLIENT }
  return taplineFile(
    'bench',
    NETWORKS,
    [
      { name: 'client', netns: client, ...near },
      { name: 'server', netns: server, ...far },
    ],
    more,
  )
}

/** The client as a sandbox with a published port, the server outside. */
export function natFile({ client, server }: Pick<Place, 'client' | 'server'>): string {
  const ports = [`${IPERF_PORT}:${IPERF_PORT}`]
  const sandbox = { name: 'client', netns: client, network: 'front', address: CLIENT, ports }
  const addresses = `addresses: [${OUTER_ADDRESS}/24], peer_addresses: [${OUTSIDE}/24]`
  const uplink = `uplink: { netns: ${server}, ${addresses}, gateway: ${OUTSIDE} }`
  return taplineFile('bench', NETWORKS, [sandbox], [uplink])
}

/** Both as sandboxes of one network, with a service of one backend in it. */
export function vipFile(ends: Pick<Place, 'client' | 'server'>): string {
  const ports = [IPERF_PORT, CONNECT_PORT, RAW_PORT].map(
    (port) => `{ target: ${port}, protocol: tcp }`,
  )
  const service = `network: front, vip: ${VIP}, ports: [${ports.join(', ')}], backends: [server]`
  const far = { network: 'front', address: SWITCHED_SERVER } as const
  return pairFile(ends, far, ['services:', `  web: { ${service} }`])
}

const COMMON = { tools: {}, taps: true } as const

export const tapline: Peer = {
  ...COMMON,
  title: 'tapline, one bridge',
  serverAddress: SWITCHED_SERVER,
  inwardAddress: CLIENT,
  open: (place, settings) =>
    open(pairFile(place, { network: 'front', address: SWITCHED_SERVER }), place, settings),
}

export const taplineRoute: Peer = {
  ...COMMON,
  title: 'tapline, routed',
  serverAddress: ROUTED_SERVER,
  open: (place, settings) =>
    open(pairFile(place, { network: 'back', address: ROUTED_SERVER }), place, settings),
}

export const taplineNat: Peer = {
  ...COMMON,
  title: 'tapline, NAT',
  serverAddress: OUTSIDE,
  inwardAddress: OUTER_ADDRESS,
  serverInterface: 'tapline0',
  open: (place, settings) => open(natFile(place), place, settings),
}

export const taplineVip: Peer = {
  ...COMMON,
  title: 'tapline, VIP',
  serverAddress: VIP,
  open: (place, settings) => open(vipFile(place), place, settings),
}
