/**
 * Two ends of a connection benchmark that speak TCP by themselves, each a process of its own
 * inside an end's namespace:
 *
 *   raw/main.js serve LINK PORT                  answer each octet with one, and close
 *   raw/main.js open ADDRESS PORT SLOTS SECONDS  open connections, SLOTS at once
 *
 * They say the same as ../connect.ts, but in frames of their own instead of the kernel's sockets,
 * which cost an end more than a balancer costs. They use the addresses of the interface, so that
 * the system between has two ends as any others; the kernel answers ARP for them, resolves the
 * next hop beforehand, and must be kept from the port (`silence` in ../netns.ts).
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeSync } from 'node:fs'
import type { Connections } from '../connect.ts'
import { RawClient } from './client.ts'
import type { Path } from './segment.ts'
import { serve } from './server.ts'
import { RawSocket } from './socket.ts'

const STDOUT = 1
/** For connections that are open when the time is over. */
const DRAIN_MS = 10_000

function parsed<T>(argv: readonly string[]): T {
  const { status, stdout, stderr } = spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${argv.join(' ')}: ${stderr}`)
  return JSON.parse(stdout) as T
}

interface Link {
  readonly ifindex: number
  readonly address: string
}

function linkNamed(name: string): Link {
  return parsed<[Link]>(['ip', '-j', 'link', 'show', 'dev', name])[0]
}

const octetsOf = (address: string): Uint8Array => Uint8Array.from(address.split('.').map(Number))
const macOf = (text: string): Uint8Array =>
  Uint8Array.from(text.split(':').map((octet) => Number.parseInt(octet, 16)))

/** Path and interface index towards an address. @throws Error if its next hop is not resolved. */
function pathTo(address: string): { path: Path; index: number } {
  interface Route {
    readonly gateway?: string
    readonly dev: string
    readonly prefsrc: string
  }
  const [route] = parsed<[Route]>(['ip', '-j', 'route', 'get', address])
  const hop = route.gateway ?? address
  const table = readFileSync('/proc/net/arp', 'latin1').split('\n')
  const fields = table.map((line) => line.split(/\s+/)).find(([ip]) => ip === hop)
  if (fields === undefined) throw new Error(`the kernel has not resolved ${hop}`)
  const link = linkNamed(route.dev)
  const path = {
    sourceMac: macOf(link.address),
    targetMac: macOf(fields[3]!),
    source: octetsOf(route.prefsrc),
    target: octetsOf(address),
  }
  return { path, index: link.ifindex }
}

/** What `open` prints, as JSON. */
export interface RawConnections extends Connections {
  /** Segments sent again after none answered. */
  readonly resent: number
  /** Frames that the interface did not take, such as a TAP whose queue is full. */
  readonly refused: number
  /** Of this process, user and system. */
  readonly cpuS: number
}

function open(address: string, port: number, slots: number, seconds: number): RawConnections {
  const { path, index } = pathTo(address)
  const socket = new RawSocket(index, 'from', port)
  const client = new RawClient(socket, path, { port, slots, epochMs: Date.now() })
  const fromMs = performance.now()
  const from = process.cpuUsage()
  while (performance.now() - fromMs < seconds * 1000) client.turn(true)
  const { done } = client
  const { user, system } = process.cpuUsage(from)
  const spent = { seconds: (performance.now() - fromMs) / 1000, cpuS: (user + system) / 1e6 }
  const untilMs = performance.now() + DRAIN_MS
  while (client.open > 0 && performance.now() < untilMs) client.turn(false)
  return {
    done,
    failed: client.failed + client.open,
    resent: client.resent,
    refused: socket.refused,
    ...spent,
    medianUs: client.latencyUs(0.5),
    p99Us: client.latencyUs(0.99),
  }
}

const [role, ...rest] = process.argv.slice(2)
if (role === 'serve') {
  const socket = new RawSocket(linkNamed(rest[0]!).ifindex, 'to', Number(rest[1]))
  writeSync(STDOUT, 'listening\n')
  serve(socket)
} else {
  const [address = '', port, slots, seconds] = rest
  const connections = open(address, Number(port), Number(slots), Number(seconds))
  writeSync(STDOUT, `${JSON.stringify(connections)}\n`)
  process.exitCode = connections.done === 0 ? 1 : 0
}
