/**
 * CNI plugins: tapline's, in front of a daemon, and the reference plugin `bridge`, which with
 * `host-local` is a program a call that sets the kernel up. Both ends are attached by them.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CniPlugin, callPlugin, measureCalls } from '../measure/cni.ts'
import { addNetns } from '../netns.ts'
import { debianVersion } from '../shell.ts'
import type { Opened, Peer, Place } from './peer.ts'
import { CLI, engineOf, startTapline, taplineFile } from './tapline.ts'

const SUBNET = '10.77.1.0/24'
/** Both deal out the lowest that is free: the client is attached first. */
const SERVER = '10.77.1.3'
const FOLDER = '/usr/lib/cni'

/** Attach the ends, and have an empty namespace for trials. */
async function attach(
  place: Place,
  argv: readonly string[],
  conf: object,
): Promise<Pick<Opened, 'trial'>> {
  const { client, server, middle, folder } = place
  const file = join(folder, 'cni.json')
  writeFileSync(file, JSON.stringify({ cniVersion: '1.0.0', name: 'front', ...conf }))
  const plugin: CniPlugin = { middle, argv, file }
  await callPlugin(plugin, { command: 'ADD', container: 'client', netns: client })
  await callPlugin(plugin, { command: 'ADD', container: 'server', netns: server })
  const empty = `${middle}-trial`
  addNetns(empty)
  return { trial: measureCalls(plugin, empty) }
}

export const taplineCni: Peer = {
  title: 'tapline cni',
  tools: {},
  taps: true,
  serverAddress: SERVER,
  async open(place, settings) {
    const { folder } = place
    const daemon = await startTapline(taplineFile('bench', { front: SUBNET }, []), place, settings)
    const conf = { type: 'tapline', socket: join(folder, 'tapline.sock') }
    const attached = await attach(place, [process.execPath, CLI, 'cni'], conf)
    const engine = engineOf(daemon, settings)
    return { about: `tapline up, ${engine}`, engine, ...attached, close: daemon.stop }
  },
}

export const cniBridge: Peer = {
  title: 'CNI plugin bridge',
  tools: { [join(FOLDER, 'bridge')]: 'containernetworking-plugins' },
  taps: false,
  serverAddress: SERVER,
  async open(place) {
    const ipam = { type: 'host-local', subnet: SUBNET, dataDir: join(place.folder, 'ipam') }
    const conf = { type: 'bridge', bridge: 'cni0', isGateway: true, ipam }
    const attached = await attach(place, [join(FOLDER, 'bridge')], conf)
    const about = `${debianVersion('containernetworking-plugins')}, host-local`
    return { about, ...attached, close: async () => undefined }
  },
}
