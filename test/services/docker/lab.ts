/** A daemon for Docker in memory, and Docker's side of it: calls over the plugin's socket. */
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from '../../../services/client.ts'
import { DockerDaemon } from '../../../services/docker/daemon.ts'
import { Events } from '../../../services/events.ts'
import { SystemDriver } from '../../../services/fabric/driver.ts'
import type { Host } from '../../../services/fabric/host.ts'
import { MemoryLinks } from '../../../services/fabric/memory_links.ts'
import { Pool } from '../../../stack/packet.ts'
import { Random } from '../../../stack/random.ts'
import { type Recorded, recorded } from './recorded.ts'

export interface Answer {
  readonly status: number
  readonly type: string | undefined
  // Answers are looked at field by field.
  readonly body: Record<string, never>
}

/** An ID as Docker makes them, from a number. */
export function id(number: number): string {
  return number.toString(16).padStart(12, '0').padEnd(64, 'e')
}

export class PluginLab {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'tapline-docker-'))
  readonly pool: Pool = new Pool({ smallCount: 512, largeCount: 16, checked: true })
  readonly driver: SystemDriver = new SystemDriver()
  readonly links: MemoryLinks
  readonly daemon: DockerDaemon
  readonly logged: string[] = []
  readonly client: Client = new Client(join(this.folder, 'api.sock'))
  readonly #plugin = join(this.folder, 'plugin.sock')

  /** @param statePath - of another one; left out: its own. */
  constructor(statePath?: string) {
    const { driver, pool, folder } = this
    this.links = new MemoryLinks({ pool, driver, random: new Random(2) })
    const write = (_: object, message: string): void => {
      this.logged.push(message)
    }
    this.daemon = new DockerDaemon({
      runtime: {
        pool,
        random: new Random(1),
        clock: driver.clock,
        links: this.links,
        onDevice: (device, added) => (added ? driver.add(device) : driver.remove(device)),
        close: () => driver.close(),
      },
      log: { info: write, warn: write, error: write },
      events: new Events(),
      name: 'docker',
      uplink: 'none',
      pluginPath: this.#plugin,
      statePath: statePath ?? join(folder, 'state.json'),
      socketPath: join(folder, 'api.sock'),
    })
  }

  send(path: string, text: string, method = 'POST'): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.#plugin, method, path, agent: false }, (answer) => {
        let out = ''
        answer.on('data', (data: Buffer) => {
          out += data.toString()
        })
        answer.on('end', () => {
          const type = answer.headers['content-type']
          resolve({ status: answer.statusCode!, type, body: JSON.parse(out) })
        })
      })
      asked.on('error', reject)
      asked.end(text)
    })
  }

  /** The answer of a call that must not be refused. */
  async call(name: string, body: object = {}): Promise<Answer['body']> {
    const { status, body: answer } = await this.send(`/${name}`, JSON.stringify(body))
    const refusal = answer['Err'] ?? answer['Error']
    if (status !== 200 || refusal) throw new Error(`${name}: ${status} ${refusal}`)
    return answer
  }

  /** What a call is refused with. */
  async refusal(name: string, body: object = {}): Promise<string> {
    const { body: answer } = await this.send(`/${name}`, JSON.stringify(body))
    return String(answer[name.startsWith('Ipam') ? 'Error' : 'Err'])
  }

  async network(number: number, subnet = '10.5.0.0/24', more: object = {}): Promise<void> {
    const Gateway = subnet.replace(/0\/\d+$/, '1/24')
    const IPv4Data = [{ AddressSpace: '', Pool: subnet, Gateway, AuxAddresses: {} }]
    await this.call('NetworkDriver.CreateNetwork', { NetworkID: id(number), IPv4Data, ...more })
  }

  /** An endpoint and a container that joins by it, as Docker makes them: the host in it. */
  async join(network: number, number: number, address: string): Promise<Host> {
    const of = { NetworkID: id(network), EndpointID: id(number) }
    const Interface = { Address: `${address}/24`, AddressIPv6: '', MacAddress: '' }
    await this.call('NetworkDriver.CreateEndpoint', { ...of, Interface, Options: null })
    const SandboxKey = `/run/docker/netns/${number}`
    this.links.prepare({ name: `c${number}`, netns: SandboxKey })
    await this.call('NetworkDriver.Join', { ...of, SandboxKey, Options: {} })
    return this.links.host(SandboxKey)!
  }

  async leave(network: number, number: number): Promise<void> {
    const of = { NetworkID: id(network), EndpointID: id(number) }
    await this.call('NetworkDriver.RevokeExternalConnectivity', of)
    await this.call('NetworkDriver.Leave', of)
    await this.call('NetworkDriver.DeleteEndpoint', of)
  }

  publish(network: number, number: number, ports: readonly object[]): Promise<string> {
    return this.refusal('NetworkDriver.ProgramExternalConnectivity', {
      NetworkID: id(network),
      EndpointID: id(number),
      Options: { 'com.docker.network.portmap': ports },
    })
  }

  state(): Recorded {
    return recorded(join(this.folder, 'state.json'))
  }

  /** Close, and say what was not given back. */
  async close(): Promise<string[]> {
    await this.daemon.close()
    rmSync(this.folder, { recursive: true, force: true })
    return this.pool.leaks()
  }
}
