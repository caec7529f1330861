/**
 * Open vSwitch with its userspace datapath (`datapath_type=netdev`) and two TAPs that it makes
 * itself: the userspace switch most in use. (With DPDK it is another program, which has no TAPs.)
 *
 * It runs privately: database, sockets and logs in a temporary folder, and its interfaces in a
 * namespace of their own, so that an Open vSwitch of the host is neither used nor disturbed.
 *
 * Measured as it comes, and, for bulk TCP, once more with `userspace-tso-enable`, which is off by
 * default: then it moves super-frames too, and a comparison that hid that would not be honest.
 */
import { join } from 'node:path'
import { inNetns, onCpus } from '../netns.ts'
import { type Background, background, run, runSync } from '../shell.ts'
import { type Peer, type Place, SWITCHED_SERVER } from './peer.ts'
import { adoptTaps } from './taps.ts'

const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'
const TSO = 'other_config:userspace-tso-enable'

/** Start both daemons in `middle`; the switch last. */
export async function startDaemons(
  { folder, middle }: Pick<Place, 'folder' | 'middle'>,
  { tso, cpus }: { tso: boolean; cpus: string },
): Promise<Background[]> {
  const env = {
    OVS_RUNDIR: folder,
    OVS_LOGDIR: folder,
    OVS_DBDIR: folder,
    OVS_SYSCONFDIR: folder,
  }
  const file = join(folder, 'conf.db')
  const socket = join(folder, 'db.sock')
  runSync(['ovsdb-tool', 'create', file, SCHEMA], env)
  const control = (name: string): string => `--unixctl=${join(folder, name)}`
  const database = ['ovsdb-server', file, `--remote=punix:${socket}`, control('db.ctl')]
  const first = await background(database, { env, ready: /ovsdb-server \(/ })
  await run(['ovs-vsctl', `--db=unix:${socket}`, '--no-wait', 'init'])
  const enable = ['set', 'Open_vSwitch', '.', `${TSO}=${tso}`]
  await run(['ovs-vsctl', `--db=unix:${socket}`, '--no-wait', ...enable])
  const daemon = ['ovs-vswitchd', `unix:${socket}`, control('switch.ctl')]
  const argv = inNetns(middle, onCpus(cpus, daemon))
  return [first, await background(argv, { env, ready: /connected/ })]
}

export function ovsVersion(): string {
  const version = /\d+\.\d+\.\d+/.exec(runSync(['ovs-vswitchd', '--version']))?.[0]
  return `Open vSwitch ${version}`
}

/** Programs of Open vSwitch. */
export const OVS_TOOLS = {
  'ovs-vswitchd': 'openvswitch-switch',
  'ovsdb-server': 'openvswitch-switch',
  'ovs-vsctl': 'openvswitch-switch',
} as const

function openVSwitch(title: string, tso: boolean): Peer {
  return {
    title,
    tools: OVS_TOOLS,
    serverAddress: SWITCHED_SERVER,
    taps: true,
    async open(place, { systemCpus }) {
      const [database, daemon] = await startDaemons(place, { tso, cpus: systemCpus })
      const tap = (name: string): string[] => [
        ...['--', 'add-port', 'br0', name],
        ...['--', 'set', 'interface', name, 'type=tap'],
      ]
      const bridge = ['add-br', 'br0', '--', 'set', 'bridge', 'br0', 'datapath_type=netdev']
      const control = ['ovs-vsctl', `--db=unix:${join(place.folder, 'db.sock')}`, '--timeout=10']
      await run([...control, ...bridge, ...tap('left'), ...tap('right')])
      await adoptTaps(place)
      const about = `${ovsVersion()}, datapath_type=netdev${tso ? `, ${TSO}` : ''}`
      return { about, close: () => Promise.all([daemon?.stop(), database?.stop()]) }
    },
  }
}

export const ovs: Peer = openVSwitch('Open vSwitch, userspace', false)
export const ovsTso: Peer = openVSwitch('Open vSwitch, TSO on', true)
