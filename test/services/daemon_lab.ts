/** A daemon in memory, on the system clock, with hosts that can ping: for tests of its sides. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from '../../services/client.ts'
import { toConfig } from '../../services/config_file.ts'
import { Daemon } from '../../services/daemon.ts'
import { Events } from '../../services/events.ts'
import { SystemDriver } from '../../services/fabric/driver.ts'
import { MemoryLinks } from '../../services/fabric/memory_links.ts'
import type { Log } from '../../services/log.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'

export const SHOP = `name: shop
networks:
  front: { ipam: { config: [ { subnet: 10.1.0.0/24 } ] } }
  back: { ipam: { config: [ { subnet: 10.2.0.0/24 } ] } }
sandboxes:
  web1: { networks: { front: { ipv4_address: 10.1.0.11 } } }
  web2: { networks: { front: { ipv4_address: 10.1.0.12 } } }
  db: { networks: { back: { ipv4_address: 10.2.0.12 } } }
`

/** {@link SHOP} with one more sandbox. */
export const BIGGER: string = `${SHOP}  web3:
    networks: { front: { ipv4_address: 10.1.0.13 } }
`

export class DaemonLab {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'tapline-lab-'))
  readonly file: string = join(this.folder, 'shop.yaml')
  readonly socketPath: string
  readonly pool: Pool = new Pool({ smallCount: 512, largeCount: 16, checked: true })
  readonly driver: SystemDriver = new SystemDriver()
  readonly links: MemoryLinks
  readonly events: Events = new Events()
  /** Messages that the daemon logged. */
  readonly logged: string[] = []
  readonly daemon: Daemon
  readonly client: Client

  constructor(text: string = SHOP, socketPath?: string) {
    this.socketPath = socketPath ?? join(this.folder, 'shop.sock')
    this.client = new Client(this.socketPath)
    writeFileSync(this.file, text)
    const random = new Random(1)
    const { driver, pool } = this
    this.links = new MemoryLinks({ pool, driver, random: new Random(2) })
    this.daemon = new Daemon({
      runtime: {
        pool,
        random,
        clock: driver.clock,
        links: this.links,
        onDevice: (device, added) => (added ? driver.add(device) : driver.remove(device)),
        close: () => driver.close(),
      },
      log: this.#log(),
      events: this.events,
      file: this.file,
      config: toConfig({ text, file: this.file }),
      socketPath: this.socketPath,
    })
  }

  /** Close, and say what was not given back. */
  async close(): Promise<string[]> {
    await this.daemon.close()
    rmSync(this.folder, { recursive: true, force: true })
    return this.pool.leaks()
  }

  #log(): Log {
    const write = (facts: object, msg: string): void => {
      this.logged.push(msg)
      this.events.write(`${JSON.stringify({ ...facts, msg })}\n`)
    }
    return { info: write, warn: write, error: write }
  }
}

/** Poll until it holds; for what happens in other turns of the event loop. */
export async function eventually(holds: () => boolean, limitMs = 5000): Promise<void> {
  const end = performance.now() + limitMs
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${holds}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
