/** tapline itself: its command line, started as a user would start it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onCpus } from '../netns.ts'
import { type Background, background } from '../shell.ts'
import {
  CLIENT,
  type Peer,
  type Place,
  ROUTED_SERVER,
  type Settings,
  SWITCHED_SERVER,
} from './peer.ts'

const CLI = join(import.meta.dirname, '..', '..', 'services', 'cli', 'main.js')

/** A sandbox of a generated file. */
export interface SandboxSpec {
  readonly name: string
  readonly netns: string
  readonly network: string
  readonly address: string
}

/** The file for `tapline up`: networks by name with their subnets, and sandboxes. */
export function taplineFile(
  name: string,
  networks: Readonly<Record<string, string>>,
  sandboxes: readonly SandboxSpec[],
): string {
  const network = ([key, subnet]: [string, string]): string =>
    `  ${key}: { driver: bridge, ipam: { config: [ { subnet: ${subnet} } ] } }`
  const sandbox = ({ name: key, netns, network: on, address }: SandboxSpec): string =>
    `  ${key}: { netns: ${netns}, networks: { ${on}: { ipv4_address: ${address} } } }`
  const lines = [
    `name: ${name}`,
    'networks:',
    ...Object.entries(networks).map(network),
    'sandboxes:',
    ...sandboxes.map(sandbox),
  ]
  return `${lines.join('\n')}\n`
}

/** Of the file that the daemon is started with, in the folder where its socket is too. */
export const FILE_NAME = 'bench.yaml'

/** Write the file, start the daemon with it and wait until traffic can pass. */
export function startTapline(
  text: string,
  { folder, limitMs }: { folder: string; limitMs?: number },
  { engine, systemCpus }: Settings,
): Promise<Background> {
  const file = join(folder, FILE_NAME)
  writeFileSync(file, text)
  const socket = ['--socket', join(folder, 'tapline.sock')]
  const argv = [process.execPath, CLI, 'up', file, ...socket, '--engine', engine]
  const ready = /^ready .*\n/m
  return background(
    onCpus(systemCpus, [...argv, '--log-level', 'warn']),
    limitMs === undefined ? { ready } : { ready, limitMs },
  )
}

const NETWORKS = { front: '10.77.1.0/24', back: '10.77.2.0/24' } as const

async function open(
  { client, server, folder }: Place,
  settings: Settings,
  far: { readonly network: keyof typeof NETWORKS; readonly address: string },
): ReturnType<Peer['open']> {
  const text = taplineFile('bench', NETWORKS, [
    { name: 'client', netns: client, network: 'front', address: CLIENT },
    { name: 'server', netns: server, ...far },
  ])
  const daemon = await startTapline(text, { folder }, settings)
  const engine = /tap \((\w+)\)/.exec(daemon.readyLine)?.[1] ?? settings.engine
  return { about: `tapline up, ${engine}`, engine, close: daemon.stop }
}

const COMMON = { tools: {}, taps: true } as const

export const tapline: Peer = {
  ...COMMON,
  title: 'tapline, one bridge',
  serverAddress: SWITCHED_SERVER,
  open: (place, settings) => open(place, settings, { network: 'front', address: SWITCHED_SERVER }),
}

export const taplineRoute: Peer = {
  ...COMMON,
  title: 'tapline, routed',
  serverAddress: ROUTED_SERVER,
  open: (place, settings) => open(place, settings, { network: 'back', address: ROUTED_SERVER }),
}
