/**
 * The two proxies that are most in use as balancers of TCP, HAProxy (`mode tcp`) and nginx
 * (`stream`), each in the middle namespace with the address of the service, and with as many
 * threads or workers as there are CPUs, which is their default.
 *
 * They are processes with two sockets for each connection, so they see every octet, and the server
 * sees their address instead of the client's.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addAddress, inNetns, listens, onCpus } from '../netns.ts'
import { background, debianVersion, runSync, until } from '../shell.ts'
import {
  CONNECT_PORT,
  IPERF_PORT,
  type Peer,
  type Place,
  RAW_PORT,
  ROUTED_SERVER,
  VIP,
} from './peer.ts'
import { addRoutedPairs } from './veth.ts'

const PORTS = [IPERF_PORT, CONNECT_PORT, RAW_PORT] as const
const CONNECTIONS_MAX = 4_000

interface Proxy {
  readonly title: string
  readonly program: string
  readonly packages: Peer['tools']
  /** Text of its configuration; paths are in the folder. */
  readonly configuration: (folder: string) => string
  readonly argv: (file: string) => string[]
  readonly version: () => string
}

function proxy({ title, packages, program, configuration, argv, version }: Proxy): Peer {
  return {
    title,
    tools: packages,
    serverAddress: VIP,
    taps: false,
    async open(place: Place, { systemCpus }) {
      const { middle, folder } = place
      addRoutedPairs(place)
      addAddress(middle, 'left', `${VIP}/24`)
      const file = join(folder, `${program}.conf`)
      writeFileSync(file, configuration(folder))
      const command = onCpus(systemCpus, [program, ...argv(file)])
      const daemon = await background(inNetns(middle, command))
      await until(program, () => PORTS.every((port) => listens(daemon.pid, port)))
      return { about: version(), close: daemon.stop }
    },
  }
}

export const haproxy: Peer = proxy({
  title: 'HAProxy, mode tcp',
  program: 'haproxy',
  packages: { haproxy: 'haproxy' },
  configuration: () =>
    [
      'global',
      `  maxconn ${CONNECTIONS_MAX}`,
      'defaults',
      '  mode tcp',
      `  maxconn ${CONNECTIONS_MAX}`,
      ...['connect', 'client', 'server'].map((what) => `  timeout ${what} 60s`),
      ...PORTS.flatMap((port) => [
        `listen port-${port}`,
        `  bind ${VIP}:${port}`,
        `  server one ${ROUTED_SERVER}:${port}`,
      ]),
      '',
    ].join('\n'),
  argv: (file) => ['-db', '-f', file],
  version: () => `HAProxy ${/version (\S+)/.exec(runSync(['haproxy', '-v']))?.[1]}`,
})

const MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so'

export const nginx: Peer = proxy({
  title: 'nginx, stream',
  program: 'nginx',
  packages: { nginx: 'nginx', [MODULE]: 'libnginx-mod-stream' },
  configuration: (folder) =>
    [
      `load_module ${MODULE};`,
      'worker_processes auto;',
      `worker_rlimit_nofile ${4 * CONNECTIONS_MAX};`,
      'daemon off;',
      `pid ${folder}/nginx.pid;`,
      `error_log ${folder}/nginx.log;`,
      `events { worker_connections ${2 * CONNECTIONS_MAX}; }`,
      'stream {',
      ...PORTS.map((port) => {
        return `  server { listen ${VIP}:${port}; proxy_pass ${ROUTED_SERVER}:${port}; }`
      }),
      '}',
      '',
    ].join('\n'),
  argv: (file) => ['-c', file, '-e', 'stderr'],
  version: () => `nginx ${debianVersion('nginx')}`,
})
