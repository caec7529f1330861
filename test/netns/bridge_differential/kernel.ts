/**
 * The kernel's bridge as an oracle: in a network namespace that has no name and ends with us, a
 * bridge whose ports are TAPs. Octets written to a TAP arrive at its port; what the bridge sends
 * by a port is read from its TAP.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync, writeFileSync } from 'node:fs'
import { addressOf, close, read, write } from '../../../stack/native/libc.ts'
import { inScratchNetns, Netns } from '../../../stack/native/netns.ts'
import { openTap } from '../../../stack/native/tun.ts'
import { VNET_BYTES } from '../../../stack/vnet.ts'

export interface KernelPort {
  readonly name: string
  /** Address of the interface itself: the kernel keeps frames to it. */
  readonly mac: string
  readonly isolated?: boolean
  /** Lines of `bridge vlan add dev NAME ...`. */
  readonly vlans?: readonly string[]
  /** Lines of `bridge link set dev NAME ...`. */
  readonly settings?: readonly string[]
}

/** Who wants which group is learned, by the rules of these versions; nobody here asks. */
export interface KernelSnooping {
  readonly igmpVersion: 2 | 3
  readonly mldVersion: 1 | 2
}

export interface KernelStation {
  readonly mac: string
  readonly port: string
  readonly vid: number
}

export interface KernelBridgeOptions {
  readonly vlanFiltering: boolean
  readonly ports: readonly KernelPort[]
  /** Entries that neither age nor move: `static sticky`. */
  readonly stations: readonly KernelStation[]
  /** Undefined: group frames are flooded. */
  readonly snooping?: KernelSnooping
}

/** A port that wants a group. */
export interface KernelMember {
  readonly group: string
  readonly port: string
}

interface FdbLine {
  readonly mac: string
  readonly ifname: string
  readonly vlan?: number
  readonly state?: string
  readonly flags: readonly string[]
}

interface MdbLine {
  readonly mdb: readonly { readonly port: string; readonly grp: string; readonly src?: string }[]
}

const BUFFER_BYTES = 4096
const BRIDGE = 'br0'
/**
 * After a leave by IGMPv3 or MLDv2 the kernel takes it that the querier will ask, and ends the
 * membership after twice so long even if it does not: so late that the question is what decides.
 */
const UNASKED_CS = 60_000
/** States of entries that were not learned: ours, and the ports' own addresses. */
const CONFIGURED = ['static', 'permanent']

export class KernelBridge {
  readonly #fds = new Map<string, number>()
  readonly #netnsFd: number
  readonly #buffer = new Uint8Array(BUFFER_BYTES)

  constructor(options: KernelBridgeOptions) {
    this.#netnsFd = inScratchNetns(() => {
      for (const kind of ['all', 'default']) quiet(`net/ipv6/conf/${kind}/disable_ipv6`, '1')
      for (const { name } of options.ports) this.#fds.set(name, openTap(name, false).fd)
      run('ip', links(options))
      run('bridge', entries(options))
      quiet('net/bridge/bridge-nf-call-iptables', '0')
      quiet('net/bridge/bridge-nf-call-ip6tables', '0')
      quiet('net/bridge/bridge-nf-call-arptables', '0')
      return openSync('/proc/thread-self/ns/net', 'r')
    })
  }

  /** False: the TAP itself refused, as it does with less than an Ethernet header. */
  send(port: string, bytes: Uint8Array): boolean {
    this.#buffer.fill(0, 0, VNET_BYTES)
    this.#buffer.set(bytes, VNET_BYTES)
    const address = addressOf(this.#buffer)
    return write(this.#fds.get(port)!, address, bytes.length + VNET_BYTES) >= 0
  }

  /** Octets of the next frame that left by the port, or undefined. */
  receive(port: string): Uint8Array | undefined {
    const bytes = read(this.#fds.get(port)!, addressOf(this.#buffer), BUFFER_BYTES)
    return bytes < 0 ? undefined : this.#buffer.slice(VNET_BYTES, bytes)
  }

  /** What it has learned. */
  learned(): KernelStation[] {
    return (this.#ask('fdb show br') as FdbLine[])
      .filter(({ state, flags }) => !CONFIGURED.includes(state ?? '') && !flags.includes('self'))
      .map(({ mac, ifname, vlan = 0 }) => ({ mac, port: ifname, vid: vlan }))
  }

  /** Who wants which group, from whatever source. */
  members(): KernelMember[] {
    return (this.#ask('mdb show dev') as MdbLine[])
      .flatMap(({ mdb }) => mdb)
      .filter(({ src }) => src === undefined)
      .map(({ grp, port }) => ({ group: grp, port }))
  }

  close(): void {
    for (const fd of this.#fds.values()) close(fd)
    closeSync(this.#netnsFd)
  }

  /** What `bridge` says about it. */
  #ask(command: string): unknown {
    const netns = new Netns(`/proc/self/fd/${this.#netnsFd}`)
    try {
      const words = ['-json', ...command.split(' '), BRIDGE]
      return JSON.parse(netns.run(() => execFileSync('bridge', words, { encoding: 'utf8' })))
    } finally {
      netns.close()
    }
  }
}

/** True if this kernel is built with CONFIG_BRIDGE_VLAN_FILTERING. */
export function kernelFiltersVlans(): boolean {
  return inScratchNetns(() => {
    const input = `link add ${BRIDGE} type bridge vlan_filtering 1\n`
    return spawnSync('ip', ['-batch', '-'], { input }).status === 0
  })
}

function links({ vlanFiltering, ports, snooping }: KernelBridgeOptions): string[] {
  const groups =
    snooping === undefined
      ? 'mcast_snooping 0'
      : `mcast_snooping 1 mcast_querier 0 mcast_igmp_version ${snooping.igmpVersion}` +
        ` mcast_mld_version ${snooping.mldVersion} mcast_last_member_interval ${UNASKED_CS}`
  const filtering = vlanFiltering ? 'vlan_filtering 1 vlan_default_pvid 0' : ''
  return [
    `link add ${BRIDGE} type bridge ${filtering} stp_state 0 ${groups}`,
    // Else it learns from frames that it does not forward, which is a matter of taste.
    `link set ${BRIDGE} type bridge no_linklocal_learn 1`,
    ...ports.flatMap(({ name, mac }) => [
      `link set ${name} address ${mac} master ${BRIDGE}`,
      `link set ${name} up`,
    ]),
    `link set ${BRIDGE} up`,
  ]
}

function entries({ vlanFiltering, ports, stations }: KernelBridgeOptions): string[] {
  return [
    ...ports.flatMap(({ name, vlans = [] }) => vlans.map((vlan) => `vlan add dev ${name} ${vlan}`)),
    ...ports
      .filter(({ isolated }) => isolated)
      .map(({ name }) => `link set dev ${name} isolated on`),
    ...ports.flatMap(({ name, settings = [] }) =>
      settings.map((setting) => `link set dev ${name} ${setting}`),
    ),
    ...stations.map(
      ({ mac, port, vid }) =>
        `fdb add ${mac} dev ${port} master static sticky${vlanFiltering ? ` vlan ${vid}` : ''}`,
    ),
  ]
}

function run(tool: 'ip' | 'bridge', lines: readonly string[]): void {
  execFileSync(tool, ['-batch', '-'], { input: lines.map((line) => `${line}\n`).join('') })
}

function quiet(sysctl: string, value: string): void {
  const path = `/proc/sys/${sysctl}`
  if (existsSync(path)) writeFileSync(path, value)
}
