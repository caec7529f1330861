/**
 * The demo on real TAPs: three sandboxes that are network namespaces, with the kernel's own TCP/IP
 * in each, and tapline between them.
 *
 * ```text
 *   web1 10.1.0.11 ── front 10.1.0.0/24 ──┐
 *   web2 10.1.0.12 ── (bridge)            router
 *   db   10.2.0.12 ── back  10.2.0.0/24 ──┘
 * ```
 *
 * The daemon is a child, `tapline up FILE`, and everything is shown by the commands that a user
 * would type. Names carry the process id, so that demos do not meet; all of it is removed at the
 * end, whatever happens, and that is checked.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { StackError } from '../../stack/errors.ts'
import { netnsExists } from '../../stack/native/netns.ts'
import { scaled } from '../cli/table.ts'
import { isInstalled, run, start, startDaemon, stop, waitForLine } from './inside.ts'
import type { Narrator } from './narrator.ts'

const MAIN: string = fileURLToPath(new URL('../cli/main.js', import.meta.url))
const PEER: string = fileURLToPath(new URL('./peer.js', import.meta.url))
const PORT = 5201
const TRANSFER_S = 2
const PINGS = 3

const WEB1 = '10.1.0.11'
const WEB2 = '10.1.0.12'
const DB = '10.2.0.12'
const DB6 = 'fd00:2::12'

export interface TapDemoOptions {
  readonly narrator: Narrator
  /** Aborted: stop where it is, and clean up. */
  readonly signal: AbortSignal
  /** True: leave everything running until the signal. */
  readonly keep: boolean
}

/** @throws StackError if something does not go as it should; nothing is left behind either way. */
export async function demoOnTaps(options: TapDemoOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tapline-demo-'))
  const demo = new TapDemo(options, folder)
  try {
    await demo.run()
  } finally {
    await demo.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

class TapDemo {
  readonly #narrator: Narrator
  readonly #signal: AbortSignal
  readonly #keep: boolean
  readonly #name = `demo-${process.pid}`
  readonly #file: string
  readonly #socket: string
  #daemon: ChildProcess | undefined
  /** The server that runs in a sandbox now, if one does. */
  #server: ChildProcess | undefined

  constructor({ narrator, signal, keep }: TapDemoOptions, folder: string) {
    this.#narrator = narrator
    this.#signal = signal
    this.#keep = keep
    this.#file = join(folder, 'demo.yaml')
    this.#socket = join(folder, 'demo.sock')
  }

  async run(): Promise<void> {
    const steps = [
      () => this.#up(),
      () => this.#pings(),
      () => this.#transfer('Bulk TCP within a network, over the bridge', 'web2', WEB2),
      () => this.#transfer('Bulk TCP between networks, through the router', 'db', DB),
      () => this.#tables(),
      () => this.#trace(),
      () => this.#linger(),
    ]
    for (const step of steps) {
      if (this.#signal.aborted) return
      await step()
    }
  }

  /** Stop the daemon and check that nothing is left. */
  async close(): Promise<void> {
    if (this.#daemon === undefined) return
    this.#narrator.step('Cleaning up')
    if (this.#server !== undefined) await stop(this.#server, 'SIGKILL')
    await stop(this.#daemon)
    const left = ['web1', 'web2', 'db'].map((name) => this.#netns(name)).filter(netnsExists)
    if (left.length > 0) throw new StackError('syscall', `left behind: ${left.join(', ')}`)
    this.#narrator.result('the daemon ended; its namespaces, interfaces and socket are gone')
  }

  #netns(sandbox: string): string {
    return `${this.#name}-${sandbox}`
  }

  async #up(): Promise<void> {
    const narrator = this.#narrator
    narrator.step('Two networks and three sandboxes')
    const text = configText((sandbox) => this.#netns(sandbox), this.#name)
    narrator.output(text)
    writeFileSync(this.#file, text)
    narrator.command(`tapline up ${this.#file}`)
    const args = [MAIN, 'up', this.#file, '--socket', this.#socket, '--log-level', 'warn']
    this.#daemon = startDaemon(process.execPath, args)
    narrator.output(await waitForLine(this.#daemon, 'ready'))
  }

  async #pings(): Promise<void> {
    this.#narrator.step('web1 reaches its neighbor, and another network through the router')
    await this.#ping(WEB2)
    await this.#ping(DB)
    await this.#ping(DB6)
  }

  async #ping(address: string): Promise<void> {
    const web1 = this.#netns('web1')
    if (!isInstalled('ping')) return this.#probe(address)
    const args = ['-n', '-c', String(PINGS), '-i', '0.2', '-W', '2', address]
    this.#narrator.command(`ip netns exec ${web1} ping ${args.join(' ')}`)
    const { code, stdout, stderr } = await run(web1, 'ping', args)
    const lines = stdout.split('\n').filter((line) => /bytes from|loss|min\/avg/.test(line))
    this.#narrator.output(lines.join('\n') + stderr)
    if (code !== 0) throw new StackError('daemon', `web1 does not reach ${address}`)
  }

  /** Round trips of TCP handshakes, where ping is not installed. */
  async #probe(address: string): Promise<void> {
    const sandbox = address === WEB2 ? 'web2' : 'db'
    await this.#serving(sandbox, [process.execPath, PEER, 'sink', String(PORT)], async () => {
      this.#narrator.say(`   ping is not installed: opening ${PINGS} TCP connections instead`)
      const args = [PEER, 'probe', address, String(PORT), String(PINGS)]
      const { stdout } = await run(this.#netns('web1'), process.execPath, args)
      const { rttsMs } = JSON.parse(stdout) as { rttsMs: number[] }
      this.#narrator.output(`${address}: ${rttsMs.map((ms) => `${ms.toFixed(2)} ms`).join(', ')}`)
    })
  }

  async #transfer(title: string, sandbox: string, address: string): Promise<void> {
    this.#narrator.step(title)
    const seconds = String(TRANSFER_S)
    const web1 = this.#netns('web1')
    if (isInstalled('iperf3')) {
      const server = ['iperf3', '-s', '-1', '--forceflush', '-p', String(PORT)]
      await this.#serving(sandbox, server, async () => {
        const args = ['-c', address, '-p', String(PORT), '-t', seconds]
        this.#narrator.command(`ip netns exec ${web1} iperf3 ${args.join(' ')}`)
        const { stdout } = await run(web1, 'iperf3', [...args, '-J'])
        this.#bulkResult(iperfBitsPerS(stdout))
      })
      return
    }
    const server = [process.execPath, PEER, 'sink', String(PORT)]
    await this.#serving(sandbox, server, async () => {
      this.#narrator.say('   iperf3 is not installed: two small Node programs do it instead')
      const args = [PEER, 'send', address, String(PORT), String(TRANSFER_S * 1000)]
      const { stdout } = await run(web1, process.execPath, args)
      const { bytes, ms } = JSON.parse(stdout) as { bytes: number; ms: number }
      this.#bulkResult((bytes * 8000) / ms)
    })
  }

  #bulkResult(bitsPerS: number): void {
    this.#narrator.result(scaled(bitsPerS, 'bit/s'))
  }

  /** Run something while a server runs in a sandbox. */
  async #serving(
    sandbox: string,
    [command, ...args]: readonly string[],
    work: () => Promise<void>,
  ): Promise<void> {
    const server = start(this.#netns(sandbox), command!, args)
    this.#server = server
    try {
      await waitForLine(server, command === 'iperf3' ? 'Server listening' : 'listening')
      await work()
    } finally {
      await stop(server, 'SIGKILL')
      this.#server = undefined
    }
  }

  async #tables(): Promise<void> {
    this.#narrator.step('What it learned on the way, and what it knows')
    for (const command of ['ls', 'fdb', 'neigh', 'routes']) await this.#tapline(command)
  }

  async #trace(): Promise<void> {
    this.#narrator.step('What would happen to a packet, and why: nothing is sent')
    await this.#tapline('trace', '--from', 'web1', '--to', DB, '--proto', 'tcp', '--dport', '80')
  }

  async #tapline(...args: string[]): Promise<void> {
    this.#narrator.command(`tapline ${args.join(' ')}`)
    const full = [MAIN, ...args, '--socket', this.#socket]
    const { code, stdout, stderr } = await run(undefined, process.execPath, full)
    this.#narrator.output(stdout + stderr)
    if (code !== 0) throw new StackError('daemon', `tapline ${args[0]} failed`)
  }

  async #linger(): Promise<void> {
    if (!this.#keep) return
    this.#narrator.step('It stays until Ctrl-C. Try, in another terminal:')
    const socket = `--socket ${this.#socket}`
    this.#narrator.command(`ip netns exec ${this.#netns('web1')} ping ${DB}`)
    this.#narrator.command(`tapline capture ${socket} icmp`)
    this.#narrator.command(`tapline top ${socket}`)
    if (this.#signal.aborted) return
    await new Promise((resolve) => this.#signal.addEventListener('abort', resolve, { once: true }))
  }
}

function configText(netns: (sandbox: string) => string, name: string): string {
  return `name: ${name}
networks:
  front:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }
  back:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.2.0.0/24 }, { subnet: "fd00:2::/64" } ] }
sandboxes:
  web1:
    netns: ${netns('web1')}
    networks: { front: { ipv4_address: ${WEB1} } }
  web2:
    netns: ${netns('web2')}
    networks: { front: { ipv4_address: ${WEB2} } }
  db:
    netns: ${netns('db')}
    networks: { back: { ipv4_address: ${DB}, ipv6_address: "${DB6}" } }
`
}

function iperfBitsPerS(json: string): number {
  const report = JSON.parse(json) as {
    error?: string
    end?: { sum_received?: { bits_per_second: number } }
  }
  const received = report.end?.sum_received?.bits_per_second
  if (received === undefined) throw new StackError('daemon', `iperf3: ${report.error ?? json}`)
  return received
}
