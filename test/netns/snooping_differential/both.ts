/**
 * Two bridges that snoop, the kernel's and ours, with the same ports, and what a frame comes out of
 * in each. The kernel's lives in real time and ours in virtual time, so whoever waits, waits for
 * both; all else is quick compared with the times that matter.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { GroupRole } from '../../../stack/eth/group_filter.ts'
import type { MemberRow } from '../../../stack/ip/membership.ts'
import { Snooper } from '../../../stack/ip/snooping.ts'
import { BROADCAST, BridgeLab, frame, hex, station } from '../../eth/bridge_lab.ts'
import { KernelBridge, type KernelMember } from '../bridge_differential/kernel.ts'

/** `fast` ports forget at once who leaves; `never` and `always` are about multicast routers. */
export const PORTS = ['q', 'fast', 'fast2', 'slow', 'never', 'always'] as const
export type PortName = (typeof PORTS)[number]

const SETTINGS: Record<PortName, readonly string[]> = {
  q: [],
  fast: ['fastleave on'],
  fast2: ['fastleave on'],
  slow: [],
  never: ['fastleave on', 'mcast_router 0'],
  always: ['mcast_router 2'],
}
const ROLES: Partial<Record<PortName, number>> = {
  never: GroupRole.Never,
  always: GroupRole.Always,
}

/** The ports by which a frame left each of them. */
export interface Reach {
  readonly kernel: string
  readonly ours: string
}

/** Versions of IGMP and MLD that the kernel's bridge goes by: 2 and 1, or 3 and 2. */
export type Versions = 'old' | 'new'

/** Ends every event; who has it has had all before it. */
const MARK_TYPE = 0x88b5
const MARK_SOURCE = station(0x99)
/** A machine that needs longer is not busy but stuck. */
const PATIENCE_MS = 2000
/** The kernel counts in ticks. */
const MARGIN_MS = 50
/** The bridge's own address, which is its first port's: it has groups of its own to report. */
const OWN = '0e0000000000'

export class Both {
  readonly lab: BridgeLab
  readonly #kernel: KernelBridge
  #snooper!: Snooper
  #marks = 0

  constructor(versions: Versions) {
    this.#kernel = new KernelBridge({
      vlanFiltering: false,
      ports: PORTS.map((name, index) => ({
        name,
        mac: `0e:00:00:00:00:0${index}`,
        settings: SETTINGS[name],
      })),
      stations: [],
      snooping:
        versions === 'old' ? { igmpVersion: 2, mldVersion: 1 } : { igmpVersion: 3, mldVersion: 2 },
    })
    this.lab = new BridgeLab({
      // The kernel's has none, and here a querier may seem to be everywhere.
      loopGuard: { movesMax: Number.POSITIVE_INFINITY },
      groupsOf: (pool, clock) => {
        this.#snooper = new Snooper({ pool, clock, seed: 7, portsMax: 64, vlans: 1 })
        return this.#snooper
      },
    })
    for (const name of PORTS) {
      const fastLeave = SETTINGS[name].includes('fastleave on')
      this.lab.add(name, { groupRole: ROLES[name] ?? GroupRole.Auto, fastLeave })
    }
  }

  send(from: PortName, bytes: Uint8Array): Reach {
    const ours = this.lab.send(from, bytes).map(({ port }) => port)
    return { kernel: this.#throughKernel(from, bytes), ours: words(ours) }
  }

  async wait(ms: number): Promise<void> {
    this.lab.wait(ms + MARGIN_MS)
    await sleep(ms + MARGIN_MS)
  }

  /** Who wants which group, as `group port`. */
  members(): { readonly kernel: string[]; readonly ours: string[] } {
    const text = ({ group, port }: KernelMember): string => `${group} ${port}`
    const named = ({ group, port }: MemberRow): string => `${group} ${PORTS[port]}`
    return {
      kernel: this.#kernel.members().map(text).sort(),
      ours: this.#snooper.list().map(named).sort(),
    }
  }

  /** Both forget, and nothing of ours may be left. */
  close(): void {
    this.#kernel.close()
    this.#snooper.close()
    this.lab.balance()
  }

  #throughKernel(from: PortName, bytes: Uint8Array): string {
    const kernel = this.#kernel
    const mark = frame({
      dst: BROADCAST,
      src: MARK_SOURCE,
      type: MARK_TYPE,
      payload: [this.#marks++ & 0xff, ...new Uint8Array(45)],
    })
    kernel.send(from, bytes)
    kernel.send(from, mark)
    const sought = hex(mark)
    const waiting = new Set<PortName>(PORTS.filter((name) => name !== from))
    const reached: string[] = []
    const untilMs = performance.now() + PATIENCE_MS
    while (waiting.size > 0) {
      if (performance.now() > untilMs) throw new Error(`no mark from ${[...waiting]}`)
      for (const name of PORTS) {
        for (let got = kernel.receive(name); got !== undefined; got = kernel.receive(name)) {
          const text = hex(got)
          if (text === sought) waiting.delete(name)
          else if (text.slice(12, 24) !== OWN) {
            reached.push(text === hex(bytes) ? name : `${name}: ${text}`)
          }
        }
      }
    }
    return words(reached)
  }
}

function words(ports: readonly string[]): string {
  const order = (name: string): number => PORTS.indexOf(name as PortName)
  return [...ports].sort((a, b) => order(a) - order(b)).join(' ') || 'nobody'
}
