/**
 * The kernel's router as an oracle: in a network namespace that has no name and ends with us, two
 * TAPs with forwarding between them. What is written to a TAP arrives at that leg; what the router
 * sends by a leg is read from its TAP.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { addressOf, close, read, write } from '../../../stack/native/libc.ts'
import { inScratchNetns } from '../../../stack/native/netns.ts'
import { openTap } from '../../../stack/native/tun.ts'
import { VNET_BYTES } from '../../../stack/vnet.ts'

export interface KernelLeg {
  readonly name: string
  readonly mac: string
  readonly mtuBytes: number
  readonly addresses: readonly string[]
  /** Addresses of the hosts behind it, all at `hostMac`. */
  readonly hosts: readonly string[]
}

export interface KernelRouterOptions {
  readonly legs: readonly KernelLeg[]
  readonly hostMac: string
  /** `blackhole PREFIX`, `PREFIX via ADDRESS`. */
  readonly routes: readonly string[]
}

const BUFFER_BYTES = 70_000

/** Strict reverse path, no rate limits, nothing of its own accord. */
const SYSCTLS: Readonly<Record<string, string>> = {
  'net/ipv4/ip_forward': '1',
  'net/ipv4/conf/all/send_redirects': '0',
  'net/ipv4/conf/default/send_redirects': '0',
  'net/ipv4/conf/all/rp_filter': '1',
  'net/ipv4/conf/default/rp_filter': '1',
  'net/ipv4/icmp_ratelimit': '0',
  'net/ipv4/icmp_msgs_per_sec': '1000000',
  'net/ipv4/icmp_msgs_burst': '1000000',
  'net/ipv4/ipfrag_time': '600',
  'net/ipv6/icmp/ratelimit': '0',
  'net/ipv6/ip6frag_time': '600',
  'net/ipv6/auto_flowlabels': '0',
  'net/ipv6/conf/all/forwarding': '1',
  'net/ipv6/conf/default/accept_dad': '0',
  'net/ipv6/conf/default/router_solicitations': '0',
}

export class KernelRouter {
  readonly #fds = new Map<string, number>()
  readonly #buffer = new Uint8Array(BUFFER_BYTES)

  constructor({ legs, hostMac, routes }: KernelRouterOptions) {
    inScratchNetns(() => {
      for (const [name, value] of Object.entries(SYSCTLS)) set(name, value)
      for (const { name } of legs) this.#fds.set(name, openTap(name, false).fd)
      const lines = [
        'link set lo up',
        ...legs.flatMap(({ name, mac, mtuBytes, addresses, hosts }) => [
          `link set ${name} address ${mac} mtu ${mtuBytes}`,
          `link set ${name} up`,
          ...addresses.map((address) => `address add ${address} dev ${name}`),
          ...hosts.map(
            (host) => `neighbor add ${host} lladdr ${hostMac} nud permanent dev ${name}`,
          ),
        ]),
        ...routes.map((route) => `route add ${route}`),
      ]
      execFileSync('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` })
    })
  }

  /** False: the TAP itself refused. */
  send(leg: string, bytes: Uint8Array): boolean {
    this.#buffer.fill(0, 0, VNET_BYTES)
    this.#buffer.set(bytes, VNET_BYTES)
    const address = addressOf(this.#buffer)
    return write(this.#fds.get(leg)!, address, bytes.length + VNET_BYTES) >= 0
  }

  /** The next frame that left by the leg, or undefined. */
  receive(leg: string): Uint8Array | undefined {
    const bytes = read(this.#fds.get(leg)!, addressOf(this.#buffer), BUFFER_BYTES)
    return bytes < 0 ? undefined : this.#buffer.slice(VNET_BYTES, bytes)
  }

  close(): void {
    for (const fd of this.#fds.values()) close(fd)
  }
}

function set(sysctl: string, value: string): void {
  const path = `/proc/sys/${sysctl}`
  if (existsSync(path)) writeFileSync(path, value)
}
