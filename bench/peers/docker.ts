/**
 * Docker's own bridge networks and those of `tapline docker`, as users make them: by `docker
 * network create` and `docker run`, on one dockerd. The ends are the network namespaces of two
 * containers, or of one and of a machine on a cable to the Docker host.
 *
 * The userland proxy is an option of dockerd, so that Docker without it is another machine.
 */

import { measureFirstReply } from '../measure/docker.ts'
import { setLink } from '../netns.ts'
import { runSync } from '../shell.ts'
import { DOCKER_TOOLS, DockerMachine } from './docker_machine.ts'
import { IPERF_PORT, type Opened, type Peer, type Place, type Settings } from './peer.ts'

type Kind = 'tapline' | 'bridge'

/** One machine for all that runs with the proxy, and one for what runs without. */
const machines = new Map<boolean, { opened: Promise<DockerMachine>; users: number }>()

async function machineFor(settings: Settings, userlandProxy: boolean): Promise<DockerMachine> {
  const known = machines.get(userlandProxy)
  const opened =
    known?.opened ?? DockerMachine.open({ ...settings, userlandProxy, tapline: userlandProxy })
  machines.set(userlandProxy, { opened, users: (known?.users ?? 0) + 1 })
  return await opened
}

/** The last one closes it. */
async function leave(userlandProxy: boolean): Promise<void> {
  const machine = machines.get(userlandProxy)!
  machine.users--
  if (machine.users === 0) await (await machine.opened).close()
}

async function addNetwork(machine: DockerMachine, kind: Kind, subnet: string): Promise<string> {
  const driver = kind === 'tapline' ? ['tapline', '--ipam-driver', 'tapline'] : ['bridge']
  const name = `${kind}-${subnet}`.replaceAll(/[./]/g, '-')
  await machine.docker('network', 'create', '-d', ...driver, '--subnet', subnet, name)
  return name
}

function about(machine: DockerMachine, kind: Kind): Pick<Opened, 'about' | 'engine'> {
  const docker = /version ([^,\s]+)/.exec(runSync(['dockerd', '--version']))?.[1]
  if (kind === 'bridge') return { about: `Docker ${docker}, network of driver bridge` }
  const { engine = '' } = machine
  return { about: `Docker ${docker}, tapline docker, ${engine}`, engine }
}

const COMMON = { tools: DOCKER_TOOLS } as const

/** Two containers on one network, `prefix` being the first three octets of its subnet. */
function pair(kind: Kind, title: string, prefix: string): Peer {
  return {
    ...COMMON,
    title,
    taps: kind === 'tapline',
    serverAddress: `${prefix}.12`,
    makes: ['client', 'server'],
    async open({ client, server }, settings) {
      const machine = await machineFor(settings, true)
      const network = await addNetwork(machine, kind, `${prefix}.0/24`)
      const args = (host: number): string[] => ['--network', network, '--ip', `${prefix}.${host}`]
      await machine.addContainer(client, args(11))
      await machine.addContainer(server, args(12))
      return {
        ...about(machine, kind),
        trial: measureFirstReply({ machine, netns: client, network, prefix }),
        close: () => leave(true),
      }
    },
  }
}

export const taplineDocker: Peer = pair('tapline', 'tapline docker', '10.77.1')
export const dockerBridge: Peer = pair('bridge', 'Docker, bridge', '10.77.2')

interface Way {
  readonly kind: Kind
  readonly title: string
  /** Of the container's subnet, and of the subnet of the cable. */
  readonly inner: string
  readonly outer: string
  /** At which the port is published for the host itself. */
  readonly loopback: string
  readonly userlandProxy: boolean
}

/** A container with a published port, and the server on a cable to the Docker host. */
function way({ kind, title, inner, outer, loopback, userlandProxy }: Way): Peer {
  const host = `${outer}.2`
  return {
    ...COMMON,
    title,
    taps: kind === 'tapline',
    serverAddress: `${outer}.1`,
    inwardAddress: host,
    loopback,
    makes: ['client'],
    async open(place, settings) {
      const machine = await machineFor(settings, userlandProxy)
      plug(machine, place, { outer, name: `cable-${kind}` })
      const network = await addNetwork(machine, kind, `${inner}.0/24`)
      const ports = [host, loopback].flatMap((address) => [
        ...['-p', `${address}:${IPERF_PORT}:${IPERF_PORT}`],
      ])
      await machine.addContainer(place.client, ['--network', network, ...ports])
      return {
        ...about(machine, kind),
        hostCommand: (argv) => machine.command(argv),
        close: () => leave(userlandProxy),
      }
    },
  }
}

/** A cable from the server to the machine. */
function plug(
  { pid }: DockerMachine,
  { server }: Place,
  { outer, name }: { outer: string; name: string },
): void {
  const host = (...argv: string[]): string => runSync(['nsenter', `-t${pid}`, '-n', 'ip', ...argv])
  const far = ['peer', 'name', name, 'netns', `${pid}`]
  runSync(['ip', '-n', server, 'link', 'add', 'eth0', 'type', 'veth', ...far])
  runSync(['ip', '-n', server, 'addr', 'add', `${outer}.1/24`, 'dev', 'eth0'])
  setLink(server, 'eth0', 'up')
  host('addr', 'add', `${outer}.2/24`, 'dev', name)
  host('link', 'set', name, 'up')
}

export const taplineDockerOut: Peer = way({
  kind: 'tapline',
  title: 'tapline docker, outside',
  inner: '10.77.3',
  outer: '203.0.113',
  loopback: '127.0.0.1',
  userlandProxy: true,
})

export const dockerOut: Peer = way({
  kind: 'bridge',
  title: 'Docker, outside',
  inner: '10.77.4',
  outer: '198.51.100',
  loopback: '127.0.0.2',
  userlandProxy: true,
})

export const dockerOutPlain: Peer = way({
  kind: 'bridge',
  title: 'Docker, outside, no userland proxy',
  inner: '10.77.5',
  outer: '198.51.100',
  loopback: '127.0.0.1',
  userlandProxy: false,
})
