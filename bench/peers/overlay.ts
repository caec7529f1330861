/**
 * Overlay networks: the two ends on two nodes, whose underlay is one veth pair.
 *
 * ```text
 *   [ client ] eth0 --- node 1 [ middle ] w0 ═══ w0 [ middle2 ] node 2 --- eth0 [ server ]
 * ```
 * A node is tapline, the kernel (a bridge with a vxlan device and a veth pair to the end), or Open
 * vSwitch's userspace datapath with its own VXLAN. The MTU of the ends is 1450 with all of them,
 * and checksums are on both in the outer and the inner header.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import { addAddress, addNetns, adopt, INTERFACE, setLink } from '../netns.ts'
import { type Background, run, runSync, until } from '../shell.ts'
import { OVS_TOOLS, ovsVersion, startDaemons } from './ovs.ts'
import {
  CLIENT,
  type Opened,
  type Peer,
  type Place,
  type Settings,
  SWITCHED_SERVER,
  TX_QUEUE_FRAMES,
} from './peer.ts'
import { engineOf, startTapline } from './tapline.ts'

const VNI = 77
const WIRE = 'w0'
const MTU = '1450'
/** Two daemons start at once, beside all other beds. */
const UP_MS = 60_000

/** One node and the end behind it. */
interface Side {
  readonly name: string
  /** Namespace of the node, and of the end. */
  readonly netns: string
  readonly end: string
  readonly address: string
  readonly mac: string
  /** Of the node, on the underlay. */
  readonly vtep: string
  readonly folder: string
}

type Sides = readonly [Side, Side]

/** Make the second node's namespace, and the wire. */
function makeSides({ client, server, middle, folder }: Place): Sides {
  const second = `${middle}2`
  addNetns(second)
  const pair = ['dev', WIRE, 'netns', middle, 'type', 'veth']
  runSync(['ip', 'link', 'add', ...pair, 'peer', 'name', WIRE, 'netns', second])
  const side = (netns: string, end: string, address: string, number: number): Side => {
    const own = join(folder, `n${number}`)
    mkdirSync(own)
    const mac = `02:00:00:00:77:1${number}`
    return { name: `n${number}`, netns, end, address, mac, vtep: `10.200.0.${number}`, folder: own }
  }
  return [side(middle, client, CLIENT, 1), side(second, server, SWITCHED_SERVER, 2)]
}

function addUnderlay({ netns, vtep }: Side): void {
  addAddress(netns, WIRE, `${vtep}/24`)
  setLink(netns, WIRE, 'up')
}

/** Of the encrypted overlay, beside each node's configuration; what it is does not matter. */
const KEYS_FILE = 'overlay.keys'
const KEYS = Buffer.alloc(32, 7).toString('base64')

/** The file of one node; it knows where the other's end is. */
function overlayFile(own: Side, other: Side, sealed: boolean): string {
  const remote = `{ vtep: ${other.vtep}, mac: "${other.mac}", ipv4_address: ${other.address} }`
  const encrypted = sealed ? ', encrypted: "true"' : ''
  const opts = `{ com.docker.network.driver.overlay.vxlanid_list: "${VNI}"${encrypted} }`
  const keys = sealed ? `, keys_file: ${KEYS_FILE}` : ''
  const place = `{ ipv4_address: ${own.address}, mac_address: "${own.mac}" }`
  return `name: ${own.name}
node: { name: ${own.name}, underlay: { address: ${own.vtep}${keys} }, peers: [ ${other.vtep} ] }
networks:
  back:
    driver: overlay
    driver_opts: ${opts}
    ipam: { config: [ { subnet: 10.77.1.0/24 } ] }
    remote: [ ${remote} ]
sandboxes:
  end: { netns: ${own.end}, networks: { back: ${place} } }
`
}

function taplineNode(
  own: Side,
  other: Side,
  settings: Settings,
  sealed = false,
): Promise<Background> {
  addUnderlay(own)
  const { netns, folder } = own
  if (sealed) writeFileSync(join(folder, KEYS_FILE), KEYS, { mode: 0o600 })
  return startTapline(overlayFile(own, other, sealed), { folder, netns, limitMs: UP_MS }, settings)
}

function kernelNode(own: Side, other: Side): void {
  const { netns, end, address, mac, vtep } = own
  addUnderlay(own)
  const ip = (...words: string[]): string => runSync(['ip', '-n', netns, ...words])
  ip('link', 'add', 'br0', 'type', 'bridge')
  const ends = ['local', vtep, 'remote', other.vtep, 'dstport', '4789', 'dev', WIRE]
  ip('link', 'add', 'vx0', 'type', 'vxlan', 'id', `${VNI}`, ...ends, 'udpcsum')
  ip('link', 'add', 'left', 'type', 'veth', 'peer', 'name', 'far')
  for (const link of ['br0', 'vx0', 'left']) setLink(netns, link, 'up')
  for (const link of ['vx0', 'left']) setLink(netns, link, 'master', 'br0')
  setLink(netns, 'far', 'address', mac)
  adopt('far', { from: netns, to: end, address: `${address}/24` })
  setLink(end, INTERFACE, 'mtu', MTU)
}

/** Two bridges: one for the end and the tunnel, one that owns the wire, as OVS wants it. */
async function ovsNode(own: Side, other: Side, cpus: string): Promise<Background[]> {
  const { folder, netns, vtep } = own
  const daemons = await startDaemons({ folder, middle: netns }, { tso: false, cpus })
  const bridge = (name: string): string[] => [
    ...['--', 'add-br', name],
    ...['--', 'set', 'bridge', name, 'datapath_type=netdev'],
  ]
  const port = (on: string, name: string, ...words: string[]): string[] => [
    ...['--', 'add-port', on, name],
    ...(words.length === 0 ? [] : ['--', 'set', 'interface', name, ...words]),
  ]
  const tunnel = [`type=vxlan`, `options:remote_ip=${other.vtep}`, `options:key=${VNI}`]
  const control = ['ovs-vsctl', `--db=unix:${join(folder, 'db.sock')}`, '--timeout=10']
  setLink(netns, WIRE, 'up')
  await run([
    ...[...control, ...bridge('phy'), ...port('phy', WIRE), ...bridge('int')],
    ...[...port('int', 'left', 'type=tap'), ...port('int', 'vx', ...tunnel, 'options:csum=true')],
  ])
  await until('the TAP of Open vSwitch', () =>
    runSync(['ip', '-n', netns, '-o', 'link']).includes(' left:'),
  )
  addAddress(netns, 'phy', `${vtep}/24`)
  setLink(netns, 'phy', 'up')
  adopt('left', { from: netns, to: own.end, address: `${own.address}/24` })
  setLink(own.end, INTERFACE, 'mtu', MTU)
  setLink(own.end, INTERFACE, 'txqueuelen', `${TX_QUEUE_FRAMES}`)
  return daemons
}

const COMMON = { tools: {}, serverAddress: SWITCHED_SERVER, taps: true } as const

function stopAll(daemons: readonly Background[]): Promise<unknown> {
  return Promise.all(daemons.map((daemon) => daemon.stop()))
}

async function twoNodes(place: Place, settings: Settings, sealed: boolean): Promise<Opened> {
  const [near, far] = makeSides(place)
  const daemons = await Promise.all([
    taplineNode(near, far, settings, sealed),
    taplineNode(far, near, settings, sealed),
  ])
  const engine = engineOf(daemons[0], settings)
  const about = `two nodes, tapline up, ${engine}${sealed ? ', AES-256-GCM' : ''}`
  return { about, engine, close: () => stopAll(daemons) }
}

export const taplineOverlay: Peer = {
  ...COMMON,
  title: 'tapline, overlay',
  open: (place, settings) => twoNodes(place, settings, false),
}

export const taplineSealed: Peer = {
  ...COMMON,
  title: 'tapline, encrypted overlay',
  open: (place, settings) => twoNodes(place, settings, true),
}

export const kernelVxlan: Peer = {
  ...COMMON,
  title: 'kernel vxlan + bridge',
  taps: false,
  open(place) {
    const [near, far] = makeSides(place)
    kernelNode(near, far)
    kernelNode(far, near)
    const about = `Linux ${release()}, two namespaces, each veth, bridge and vxlan`
    return Promise.resolve({ about, close: () => Promise.resolve() })
  },
}

export const ovsVxlan: Peer = {
  ...COMMON,
  title: 'Open vSwitch, userspace VXLAN',
  tools: OVS_TOOLS,
  async open(place, { systemCpus }) {
    const [near, far] = makeSides(place)
    const daemons = [
      ...(await ovsNode(near, far, systemCpus)),
      ...(await ovsNode(far, near, systemCpus)),
    ]
    const about = `two of ${ovsVersion()}, datapath_type=netdev, type=vxlan`
    return { about, close: () => stopAll(daemons) }
  },
}

/** Ours at one end, the kernel's at the other. */
async function mixed(place: Place, settings: Settings, oursFirst: boolean): Promise<Opened> {
  const [near, far] = makeSides(place)
  const [ours, theirs] = oursFirst ? [near, far] : [far, near]
  kernelNode(theirs, ours)
  const daemon = await taplineNode(ours, theirs, settings)
  const engine = engineOf(daemon, settings)
  const about = `tapline up, ${engine}, and Linux ${release()} vxlan`
  return { about, engine, close: daemon.stop }
}

export const taplineToKernel: Peer = {
  ...COMMON,
  title: 'tapline to kernel vxlan',
  open: (place, settings) => mixed(place, settings, true),
}

export const kernelToTapline: Peer = {
  ...COMMON,
  title: 'kernel vxlan to tapline',
  taps: false,
  open: (place, settings) => mixed(place, settings, false),
}
