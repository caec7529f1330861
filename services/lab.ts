/**
 * A multi-host lab on one machine: nodes that are network namespaces, each with a daemon of its own
 * inside, and an overlay network over all of them.
 *
 * ```text
 *   a1 10.2.0.11  b1 10.3.0.11 │ a2 10.2.0.12  b2 10.3.0.12 │ ...      sandboxes, in "back"
 *       daemon of n1           │     daemon of n2           │ ...      VXLAN
 *       eth0 10.200.0.11       │     eth0 10.200.0.12       │ ...      namespaces of the nodes
 *       └───────────── one more daemon: the network between the nodes ─────────────┘
 * ```
 *
 * The network between the nodes is tapline as well, so that nothing of the kernel's needs to be
 * made but namespaces. It carries 50 octets more than usual, and the overlay therefore 1500. All
 * names carry the process id, and everything is removed at the end, whatever happens.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { StackError } from '../stack/errors.ts'
import { inNetns } from '../stack/native/netns.ts'
import { run, startDaemon, stop, waitForLine } from './demo/inside.ts'

const MAIN: string = fileURLToPath(new URL('./cli/main.js', import.meta.url))
/** Last octet of the first node's addresses, less one. */
const FIRST = 10
const UNDERLAY_MTU = 1550
const VNI = 4097

export interface LabOptions {
  readonly nodes: number
  /** Aborted: stop where it is, and clean up. */
  readonly signal: AbortSignal
  /** True: ping from every node to every other and end, instead of waiting for the signal. */
  readonly check: boolean
  /** True: nodes tell each other where endpoints are; else their files do. */
  readonly gossip: boolean
  readonly print: (text: string) => void
}

/** @throws StackError if something does not go as it should; nothing is left behind either way. */
export async function runLab(options: LabOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tapline-lab-'))
  const lab = new MultiHostLab(options, folder)
  try {
    await lab.up()
    if (options.check) await lab.check()
    else await lab.wait()
  } finally {
    await lab.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

class MultiHostLab {
  readonly #options: LabOptions
  readonly #folder: string
  readonly #prefix = `lab${process.pid}`
  readonly #numbers: readonly number[]
  readonly #daemons: ChildProcess[] = []

  constructor(options: LabOptions, folder: string) {
    this.#options = options
    this.#folder = folder
    this.#numbers = Array.from({ length: options.nodes }, (_, i) => i + 1)
  }

  async up(): Promise<void> {
    const { print } = this.#options
    await this.#start('net', this.#between())
    for (const number of this.#numbers) {
      this.#refuseIfAborted()
      await this.#start(`n${number}`, this.#node(number), this.#ns(`n${number}`))
    }
    const at = (name: string): string => `ip netns exec ${this.#ns(name)}`
    const socket = (name: string): string => `--socket ${join(this.#folder, `${name}.sock`)}`
    print(`${this.#numbers.length} nodes, and a sandbox on each of two subnets of network "back":`)
    print(`  ${at('a1')} ping -c1 10.2.0.${FIRST + 2}      to another node, by VXLAN`)
    print(`  ${at('a1')} ping -c1 10.3.0.${FIRST + 2}      and to another subnet`)
    print(`  tapline peers ${socket('n1')}`)
    print(`  tapline fdb ${socket('n1')}`)
    print(`  tapline trace ${socket('n1')} --from a1 --to 10.2.0.${FIRST + 2}`)
    print(`  tapline capture ${socket('net')} -i n1/eth0      what crosses between the nodes`)
    print(`  files: ${join(this.#folder, 'n1.yaml')}`)
  }

  /** From the first sandbox of each node to both of every other. */
  async check(): Promise<void> {
    for (const from of this.#numbers) {
      for (const to of this.#numbers) {
        if (from === to) continue
        for (const address of [address2(to), address3(to)]) {
          this.#refuseIfAborted()
          const ping = ['-c', '1', '-W', '5', address]
          const { code, stdout, stderr } = await run(this.#ns(`a${from}`), 'ping', ping)
          if (code === 0) continue
          throw new StackError('daemon', `a${from} does not reach ${address}: ${stdout}${stderr}`)
        }
      }
    }
    for (const number of this.#numbers) {
      const socket = join(this.#folder, `n${number}.sock`)
      const command = [MAIN, 'check', '--live', '--socket', socket]
      const { code, stdout } = await run(undefined, process.execPath, command)
      if (code !== 0) throw new StackError('daemon', `tables of n${number} differ: ${stdout}`)
    }
    this.#options.print('every node reaches every other')
  }

  async wait(): Promise<void> {
    const { signal, print } = this.#options
    if (signal.aborted) return
    print('Ctrl-C ends it.')
    await new Promise<void>((resolve) => {
      // Somebody must keep the process: an aborted signal alone does not.
      const timer = setInterval(() => {}, 1 << 30)
      signal.addEventListener('abort', () => {
        clearInterval(timer)
        resolve()
      })
    })
  }

  /** Nodes before what is between them. */
  async close(): Promise<void> {
    for (const daemon of this.#daemons.reverse()) await stop(daemon)
  }

  #ns(name: string): string {
    return `${this.#prefix}-${name}`
  }

  async #start(name: string, config: object, netns?: string): Promise<void> {
    const file = join(this.#folder, `${name}.yaml`)
    writeFileSync(file, `${JSON.stringify(config, null, 2)}\n`)
    const args = [MAIN, 'up', file, '--socket', join(this.#folder, `${name}.sock`)]
    const begin = (): ChildProcess => startDaemon(process.execPath, args)
    const daemon = netns === undefined ? begin() : inNetns(netns, begin)
    this.#daemons.push(daemon)
    await waitForLine(daemon, 'ready')
  }

  #refuseIfAborted(): void {
    if (this.#options.signal.aborted) throw new StackError('daemon', 'the lab was interrupted')
  }

  #between(): object {
    const entries = this.#numbers.map((number) => {
      const networks = { between: { ipv4_address: vtep(number) } }
      return [`n${number}`, { netns: this.#ns(`n${number}`), networks }]
    })
    const between = {
      driver_opts: { 'com.docker.network.driver.mtu': String(UNDERLAY_MTU) },
      ipam: { config: [{ subnet: '10.200.0.0/24' }] },
    }
    const name = `${this.#prefix}-net`
    return { name, networks: { between }, sandboxes: Object.fromEntries(entries) }
  }

  #node(number: number): object {
    const { gossip } = this.#options
    const others = this.#numbers.filter((other) => other !== number)
    const remote = others.flatMap((other) => [
      { vtep: vtep(other), mac: mac(2, other), ipv4_address: address2(other), name: `a${other}` },
      { vtep: vtep(other), mac: mac(3, other), ipv4_address: address3(other), name: `b${other}` },
    ])
    const back = {
      driver: 'overlay',
      driver_opts: { 'com.docker.network.driver.overlay.vxlanid_list': String(VNI) },
      ipam: { config: [{ subnet: '10.2.0.0/24' }, { subnet: '10.3.0.0/24' }] },
      ...(gossip ? {} : { remote }),
    }
    const sandbox = (name: string, own: string, station: string): [string, object] => {
      const networks = { back: { ipv4_address: own, mac_address: station } }
      return [name, { netns: this.#ns(name), networks }]
    }
    return {
      name: `${this.#prefix}-n${number}`,
      node: {
        name: `n${number}`,
        underlay: { address: vtep(number), mtu: UNDERLAY_MTU },
        // The first begins a cluster, and the others join it.
        ...(gossip
          ? { gossip: { join: number === 1 ? [] : [vtep(1)] } }
          : { peers: others.map(vtep) }),
      },
      networks: { back },
      sandboxes: Object.fromEntries([
        sandbox(`a${number}`, address2(number), mac(2, number)),
        sandbox(`b${number}`, address3(number), mac(3, number)),
      ]),
    }
  }
}

function vtep(number: number): string {
  return `10.200.0.${FIRST + number}`
}

function address2(number: number): string {
  return `10.2.0.${FIRST + number}`
}

function address3(number: number): string {
  return `10.3.0.${FIRST + number}`
}

function mac(subnet: number, number: number): string {
  return `02:00:00:00:0${subnet}:${number.toString(16).padStart(2, '0')}`
}
