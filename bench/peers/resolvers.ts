/**
 * Name servers: tapline's at its gateway address, and dnsmasq and unbound at the same address of a
 * namespace between two veth pairs. All know the same names (../names.ts), and ask the same
 * upstream for the rest: an unbound of its own behind each of them, at the server's end, whose
 * answers they keep.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FAR, FAR_TTL_S, FAR_ZONE, flatNames, type Holder, NEAR } from '../names.ts'
import { hears, inNetns, onCpus, PREFIX } from '../netns.ts'
import { type Background, background, debianVersion, until } from '../shell.ts'
import {
  CLIENT,
  CLIENT_GATEWAY,
  type Opened,
  type Peer,
  type Place,
  ROUTED_SERVER,
  SWITCHED_SERVER,
} from './peer.ts'
import { engineOf, type SandboxSpec, startTapline, taplineFile } from './tapline.ts'
import { addRoutedPairs, forward } from './veth.ts'

/** Above what any of them does: the limit of one sandbox is not what is measured. */
const QUERIES_PER_S = 1_000_000
const DNS_PORT = 53
/** For a dozen sandboxes on a busy machine. */
const LIMIT_MS = 60_000
const CACHE_ENTRIES = 10_000
const TOOLS = { dnsperf: 'dnsperf', unbound: 'unbound' } as const

/** Start a name server and wait until it hears at its address. */
async function serve(
  netns: string,
  address: string,
  command: readonly string[],
): Promise<Background> {
  const server = await background(inNetns(netns, command))
  await until(command.join(' '), () => hears(server.pid, address, DNS_PORT))
  return server
}

/** What every unbound here is told; no file, user or key of the system's is used. */
function unboundServer(address: string, clients: string): string[] {
  return [
    'server:',
    '  do-daemonize: no',
    '  use-syslog: no',
    '  verbosity: 0',
    '  username: ""',
    '  chroot: ""',
    '  pidfile: ""',
    '  module-config: "iterator"',
    `  interface: ${address}`,
    `  access-control: ${clients} allow`,
  ]
}

function unboundNames(list: readonly Holder[], ttlS: number): string[] {
  return flatNames(list).map(({ name, address }) => {
    return `  local-data: "${name}. ${ttlS} IN A ${address}"`
  })
}

/** Who is asked for the names that are far, at the server's end. */
function startUpstream({ server, folder }: Place, address: string): Promise<Background> {
  const file = join(folder, 'upstream.conf')
  const zone = [`  local-zone: "${FAR_ZONE}." static`, ...unboundNames(FAR, FAR_TTL_S)]
  writeFileSync(file, `${[...unboundServer(address, '10.77.0.0/16'), ...zone].join('\n')}\n`)
  return serve(server, address, ['unbound', '-d', '-c', file])
}

/** The far end, a client that asks, and sandboxes that have the names. */
function namesFile({ client, server }: Pick<Place, 'client' | 'server'>): string {
  const front = { network: 'front' } as const
  const named = NEAR.map(({ names: [name, ...aliases], address }): SandboxSpec => {
    return { name: name!, netns: `${PREFIX}${name}`, ...front, address, aliases }
  })
  const ends: SandboxSpec[] = [
    { name: 'client', netns: client, ...front, address: CLIENT, dns: SWITCHED_SERVER },
    { name: 'server', netns: server, ...front, address: SWITCHED_SERVER },
  ]
  return taplineFile(
    'names',
    { front: '10.77.1.0/24' },
    [...ends, ...named],
    [`dns: { queries_per_s: ${QUERIES_PER_S} }`],
  )
}

export const taplineDns: Peer = {
  title: 'tapline, names',
  tools: TOOLS,
  serverAddress: SWITCHED_SERVER,
  taps: true,
  async open(place, settings): Promise<Opened> {
    const daemon = await startTapline(namesFile(place), { ...place, limitMs: LIMIT_MS }, settings)
    const upstream = await startUpstream(place, SWITCHED_SERVER)
    const engine = engineOf(daemon, settings)
    const close = async (): Promise<void> => {
      await upstream.stop()
      await daemon.stop()
    }
    return { about: `tapline up, ${engine}`, engine, close }
  },
}

interface Resolver {
  readonly title: string
  readonly tools: Peer['tools']
  /** Write its files; the command that runs it. */
  readonly prepare: (folder: string) => string[]
  readonly about: () => string
}

function resolver({ title, tools, prepare, about }: Resolver): Peer {
  return {
    title,
    tools: { ...TOOLS, ...tools },
    serverAddress: ROUTED_SERVER,
    taps: false,
    async open(place, { systemCpus }): Promise<Opened> {
      addRoutedPairs(place)
      forward(place.middle)
      const upstream = await startUpstream(place, ROUTED_SERVER)
      const command = onCpus(systemCpus, prepare(place.folder))
      const server = await serve(place.middle, CLIENT_GATEWAY, command)
      const close = async (): Promise<void> => {
        await server.stop()
        await upstream.stop()
      }
      return { about: about(), close }
    },
  }
}

export const dnsmasq: Peer = resolver({
  title: 'dnsmasq',
  tools: { dnsmasq: 'dnsmasq-base' },
  prepare(folder) {
    const hosts = join(folder, 'hosts')
    const lines = flatNames(NEAR).map(({ name, address }) => `${address} ${name}`)
    writeFileSync(hosts, `${lines.join('\n')}\n`)
    return [
      'dnsmasq',
      ...['--keep-in-foreground', '--conf-file=/dev/null', '--pid-file=', '--user=root'],
      ...['--no-resolv', '--no-hosts', `--addn-hosts=${hosts}`, '--local-ttl=600'],
      ...[`--listen-address=${CLIENT_GATEWAY}`, '--bind-interfaces'],
      ...[`--server=${ROUTED_SERVER}`, `--cache-size=${CACHE_ENTRIES}`],
    ]
  },
  about: () => `dnsmasq ${debianVersion('dnsmasq-base')}, cache-size ${CACHE_ENTRIES}`,
})

export const unbound: Peer = resolver({
  title: 'unbound',
  tools: {},
  prepare(folder) {
    const file = join(folder, 'unbound.conf')
    const lines = [
      ...unboundServer(CLIENT_GATEWAY, '10.77.0.0/16'),
      ...unboundNames(NEAR, 600),
      'forward-zone:',
      '  name: "."',
      `  forward-addr: ${ROUTED_SERVER}`,
    ]
    writeFileSync(file, `${lines.join('\n')}\n`)
    return ['unbound', '-d', '-c', file]
  },
  about: () => `unbound ${debianVersion('unbound')}, one thread, no validation`,
})
