/**
 * What a fabric stands on: cables and hosts in memory on a virtual or the system clock, or TAPs
 * and namespaces on the system clock. Native code is loaded only for the latter.
 */

import type { Clock } from '../../stack/clock.ts'
import type { Device } from '../../stack/device.ts'
import { StackError } from '../../stack/errors.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import type { NodeLimits } from '../build_node.ts'
import type { DnsHost } from '../dns/host.ts'
import type { Links } from '../links.ts'
import type { Runtime, RuntimeOptions } from '../runtime.ts'
import { atExit } from './at_exit.ts'
import { type Driver, SystemDriver, VirtualDriver } from './driver.ts'
import { ImpairedLinks } from './impaired.ts'
import { MemoryLinks } from './memory_links.ts'
import { FABRIC_NETNS } from './namespaces.ts'
import type * as tapTcp from './tap_tcp.ts'

type TapTcp = typeof tapTcp

export interface PlatformOptions {
  /** Default `memory`. `tap` needs root: sandboxes are network namespaces. */
  readonly devices?: 'memory' | 'tap'
  /** Default `virtual` in memory; TAPs are always on the `system` clock. */
  readonly clock?: 'virtual' | 'system'
  /** Everything random is drawn from it: addresses of nobody, faults, hash seeds. Default 1. */
  readonly seed?: number
  /** Packet memory, in frames of up to 2 KB and in super-frames. */
  readonly packets?: { readonly small?: number; readonly large?: number }
  /** Remember where each packet was allocated, and poison freed ones: slow, for hunting leaks. */
  readonly checked?: boolean
  /** In memory: what stands for resolvers outside. Left out: there are none. */
  readonly dns?: (clock: Clock) => DnsHost
}

export interface Platform {
  readonly pool: Pool
  readonly random: Random
  readonly driver: Driver
  readonly links: Links
  /** Hosts and cables; undefined on TAPs. */
  readonly memory: MemoryLinks | undefined
  /** Undefined in memory, as {@link tcp}. */
  readonly taps: ImpairedLinks | undefined
  readonly tcp: TapTcp | undefined
  readonly isVirtual: boolean
  /** Where names are asked outside. */
  readonly dns: DnsHost | undefined
  /** Tells the scheduler of a device. */
  readonly onDevice: (device: Device, added: boolean) => void
  close(): void
}

/** Of the node: what tests fill. Tables of a daemon's size take longer to make than most tests. */
export const LIMITS: NodeLimits = { connectionsMax: 16_384, flowsMax: 4096 }
const SMALL_COUNT = 4096
const LARGE_COUNT = 128

/** @throws StackError if TAPs cannot be had. */
export async function openPlatform(options: PlatformOptions): Promise<Platform> {
  return options.devices === 'tap' ? await openTaps(options) : openMemory(options)
}

function openMemory(options: PlatformOptions): Platform {
  const { clock, seed = 1, packets, checked = false, dns } = options
  const { small: smallCount = SMALL_COUNT, large: largeCount = LARGE_COUNT } = packets ?? {}
  const pool = new Pool({ smallCount, largeCount, checked })
  const isVirtual = clock !== 'system'
  const driver = isVirtual ? new VirtualDriver() : new SystemDriver()
  const random = new Random(seed)
  const memory = new MemoryLinks({ pool, driver, random: new Random(random.bits()) })
  return {
    pool,
    random,
    driver,
    links: memory,
    memory,
    taps: undefined,
    tcp: undefined,
    isVirtual,
    dns: dns?.(driver.clock),
    onDevice: (device, added) => (added ? driver.add(device) : driver.remove(device)),
    close: () => {
      memory.close()
      driver.close()
    },
  }
}

async function openTaps({ clock, seed = 1, packets }: PlatformOptions): Promise<Platform> {
  if (clock === 'virtual') {
    throw new StackError('bad-argument', 'TAPs are on the system clock: kernels do not wait')
  }
  const tcp = await import('./tap_tcp.ts')
  const { removeOrphans } = await import('../made_netns.ts')
  const { small, large } = packets ?? {}
  const runtime = await openRuntime({
    seed,
    ...(small === undefined ? {} : { smallCount: small }),
    ...(large === undefined ? {} : { largeCount: large }),
  })
  removeOrphans(FABRIC_NETNS)
  const forget = atExit(() => runtime.links.close())
  const driver = new SystemDriver(runtime.clock)
  const { pool, random } = runtime
  const own = { pool, clock: runtime.clock, random: new Random(random.bits()) }
  const links = new ImpairedLinks(runtime.links, own)
  return {
    pool,
    random,
    driver,
    links,
    memory: undefined,
    taps: links,
    tcp,
    isVirtual: false,
    dns: runtime.dns,
    // The runtime polls its TAPs by itself.
    onDevice: () => {},
    close: () => {
      forget()
      driver.close()
      runtime.close()
    },
  }
}

async function openRuntime(options: RuntimeOptions): Promise<Runtime> {
  const { Runtime } = await import('../runtime.ts')
  try {
    return new Runtime(options)
  } catch (cause) {
    if (!(cause instanceof StackError)) throw cause
    const needs = 'a fabric on TAPs needs root and /dev/net/tun; one in memory needs neither'
    throw new StackError(cause.code, `${cause.message}: ${needs}`, { cause })
  }
}
