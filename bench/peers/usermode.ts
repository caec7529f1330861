/**
 * What rootless containers leave by: pasta (of passt) and slirp4netns. Each is a process in the
 * middle namespace with a TAP in the client's, and translates what comes by it into sockets of its
 * own, there and back; the way to the server is the same uplink as the others'.
 *
 * Their MTU is 65520, at which pasta comes and Podman starts slirp4netns: a large MTU is their
 * form of segmentation offload.
 */
import { connect } from 'node:net'
import { join } from 'node:path'
import { inNetns, onCpus, setSysctl } from '../netns.ts'
import { background, debianVersion, runSync, until } from '../shell.ts'
import {
  CLIENT,
  CLIENT_GATEWAY,
  IPERF_PORT,
  OUTER_ADDRESS,
  OUTSIDE,
  type Peer,
  type Place,
} from './peer.ts'
import { addUplink } from './veth.ts'

const MTU = '65520'
const NETNS_FOLDER = '/var/run/netns'

/** The uplink, and sockets for pings. */
function prepare(place: Place): void {
  addUplink(place)
  setSysctl(place.middle, 'net.ipv4.ping_group_range', '0 2147483647')
}

function hasAddress(netns: string): boolean {
  return runSync(['ip', '-n', netns, 'addr']).includes('inet 10.77.1.')
}

const COMMON = { serverAddress: OUTSIDE, inwardAddress: OUTER_ADDRESS, taps: false } as const

export const pasta: Peer = {
  ...COMMON,
  title: 'pasta',
  tools: { pasta: 'passt' },
  async open(place, { systemCpus }) {
    const { client, middle } = place
    prepare(place)
    const how = ['-f', '-q', '--runas', '0', '--config-net', '-I', 'eth0', '-m', MTU]
    const addresses = ['-a', CLIENT, '-n', '24', '-g', CLIENT_GATEWAY]
    const ports = ['-t', `${IPERF_PORT}`, '-u', 'none', '-T', 'none', '-U', 'none']
    const argv = ['pasta', ...how, ...addresses, ...ports, '--netns', join(NETNS_FOLDER, client)]
    const daemon = await background(inNetns(middle, onCpus(systemCpus, argv)))
    await until('the TAP of pasta', () => hasAddress(client))
    return { about: `pasta ${debianVersion('passt')}, MTU ${MTU}`, close: daemon.stop }
  },
}

export const slirp4netns: Peer = {
  ...COMMON,
  title: 'slirp4netns',
  tools: { slirp4netns: 'slirp4netns' },
  async open(place, { systemCpus }) {
    const { client, middle, folder } = place
    prepare(place)
    const socket = join(folder, 'slirp.sock')
    const how = ['--configure', `--mtu=${MTU}`, '--cidr=10.77.1.0/24', '--api-socket', socket]
    const where = ['--netns-type=path', join(NETNS_FOLDER, client), 'eth0']
    const argv = inNetns(middle, onCpus(systemCpus, ['slirp4netns', ...how, ...where]))
    const daemon = await background(argv)
    await until('the TAP of slirp4netns', () => hasAddress(client))
    await publish(socket)
    const version = /version (\S+)/.exec(runSync(['slirp4netns', '--version']))?.[1]
    return { about: `slirp4netns ${version}, MTU ${MTU}`, close: daemon.stop }
  },
}

/** Which address it has given itself, it knows: the default. */
async function publish(socket: string): Promise<void> {
  const port = { proto: 'tcp', host_port: IPERF_PORT, guest_port: IPERF_PORT }
  const answer = await ask(socket, { execute: 'add_hostfwd', arguments: port })
  if (answer.includes('error')) throw new Error(`slirp4netns: ${answer}`)
}

/** One request and its answer, by a connection of its own. */
function ask(path: string, request: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const connection = connect(path)
    let answer = ''
    connection.on('error', reject)
    connection.on('data', (data) => {
      answer += data
    })
    connection.on('end', () => resolve(answer))
    connection.end(JSON.stringify(request))
  })
}
