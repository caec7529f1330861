/**
 * The bridge against the kernel's: the same frames into both from the same state, thousands of
 * them, with and without VLAN filtering. Same ports, same octets, and at the end the same FDB.
 *
 * The differences known and meant are in docs/bridge.md, and `EXPECTED` is that list: each must
 * show itself here, and nothing else may.
 *
 * Not every kernel is built with VLAN filtering. What one that is (Linux 6.1) answered is kept in
 * test/vectors/bridge_vlan_kernel.txt, which test/eth/bridge_kernel_vector.test.ts holds our bridge
 * to on any machine; `vitest -u` on such a kernel records it anew.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { Random } from '../../stack/random.ts'
import type { BridgeLab, Delivery } from '../eth/bridge_lab.ts'
import { hex } from '../eth/bridge_lab.ts'
import { type Generated, generate, ODD_STATIONS_FROM } from './bridge_differential/generate.ts'
import { KernelBridge, kernelFiltersVlans } from './bridge_differential/kernel.ts'
import { FILTERING, kernelPorts, ourBridge, PLAIN, STATICS } from './bridge_differential/ports.ts'

const FRAMES = 5000
/** The kernel delivers within the write, but for a busy machine. */
const PATIENCE_MS = 200
/** For frames that the kernel is not expected to deliver. */
const PATIENCE_ODD_MS = 2

const EXPECTED = {
  'stp-group': 'the kernel floods 01:80:c2:00:00:00 while STP is off; we forward no reserved group',
  'short-tag': 'the kernel wants two octets after a tagged header; for us the header is enough',
} as const

/** Vectors: fewer frames, hardly any payload. */
const VECTORS = 700
const VECTOR_BYTES = 24

class Both {
  readonly kernel: KernelBridge
  readonly lab: BridgeLab
  readonly names: readonly string[]

  constructor(vlanFiltering: boolean) {
    const ours = vlanFiltering ? FILTERING : PLAIN
    const ports = kernelPorts(ours)
    this.names = ports.map(({ name }) => name)
    this.kernel = new KernelBridge({ vlanFiltering, ports, stations: STATICS })
    this.lab = ourBridge(ours, vlanFiltering)
  }

  /** What the kernel sends for this frame; waits until it is as much as we expect of it. */
  throughKernel(
    port: string,
    bytes: Uint8Array,
    patience: { frames: number; ms: number },
  ): Delivery[] {
    const out: Delivery[] = []
    if (!this.kernel.send(port, bytes)) return out
    const untilMs = performance.now() + patience.ms
    do {
      for (const name of this.names) {
        let got = this.kernel.receive(name)
        for (; got !== undefined; got = this.kernel.receive(name)) {
          out.push({ port: name, bytes: hex(got) })
        }
      }
    } while (out.length < patience.frames && performance.now() < untilMs)
    return out
  }

  /** Nothing, or what is different. */
  compare({ port, bytes, odd }: Generated): string | undefined {
    const name = this.names[port]!
    const ours = sorted(this.lab.send(name, bytes))
    const ms = odd === undefined ? PATIENCE_MS : PATIENCE_ODD_MS
    const theirs = sorted(this.throughKernel(name, bytes, { frames: ours.length, ms }))
    if (ours.join() === theirs.join()) return undefined
    const what = `${name} ${hex(bytes).slice(0, 2 * VECTOR_BYTES)} (${bytes.length})`
    return `${what}: ours ${brief(ours)}, kernel ${brief(theirs)}`
  }

  compareTables(): void {
    const regular = (mac: string): boolean => Number.parseInt(mac.slice(-2), 16) < ODD_STATIONS_FROM
    const text = ({ mac, port, vid }: { mac: string; port: string; vid: number }): string =>
      `${mac} ${port} ${vid}`
    const ours = this.lab.bridge.fdb().filter((entry) => !entry.static && regular(entry.mac))
    const theirs = this.kernel.learned().filter(({ mac }) => regular(mac))
    expect(ours.map(text).sort()).toEqual(theirs.map(text).sort())
    expect(ours.length).toBeGreaterThan(5)
    const moves = this.lab.bridge.ports().reduce((sum, port) => sum + port.moves, 0)
    expect(moves).toBeGreaterThan(100)
  }
}

function sorted(deliveries: readonly Delivery[]): string[] {
  return deliveries.map(({ port, bytes }) => `${port} ${bytes}`).sort()
}

/** Headers are enough to see what happened. */
function brief(deliveries: readonly string[]): string {
  return deliveries.map((text) => text.slice(0, 3 + 2 * VECTOR_BYTES)).join(' ') || 'nothing'
}

const statics = STATICS.map(({ mac }) => mac)
let both: Both | undefined
afterEach(() => {
  both?.kernel.close()
  both = undefined
})

function compareThousands(vlanFiltering: boolean, seed: number): void {
  const rig = new Both(vlanFiltering)
  both = rig
  const random = new Random(seed)
  const seen = new Set<string>()
  const faults: string[] = []
  for (let count = 0; count < FRAMES && faults.length < 5; count++) {
    const generated = generate(random, rig.names.length, statics)
    const difference = rig.compare(generated)
    if (difference === undefined) continue
    if (generated.odd === undefined) faults.push(`frame ${count}: ${difference}`)
    else seen.add(generated.odd)
  }
  expect(faults).toEqual([])
  expect([...seen].sort()).toEqual(Object.keys(EXPECTED).sort())
  rig.compareTables()
  rig.lab.balance()
}

describe('against the kernel bridge: same ports, same octets, same FDB', () => {
  test('without VLAN filtering', () => compareThousands(false, 1))

  const filtering = test.runIf(kernelFiltersVlans())
  filtering('with VLAN filtering (needs CONFIG_BRIDGE_VLAN_FILTERING)', () => {
    compareThousands(true, 2)
  })

  filtering('the vectors are what the kernel answers', async () => {
    const rig = new Both(true)
    both = rig
    const random = new Random(3)
    const lines: string[] = []
    while (lines.length < VECTORS) {
      const generated = generate(random, rig.names.length, statics)
      if (generated.odd !== undefined) continue
      const bytes = generated.bytes.subarray(0, VECTOR_BYTES)
      const name = rig.names[generated.port]!
      const frames = rig.lab.send(name, bytes).length
      const out = rig.throughKernel(name, bytes, { frames, ms: PATIENCE_MS })
      lines.push([`${name} ${hex(bytes)} >`, ...sorted(out)].join(' '))
    }
    const text = `${lines.join('\n')}\n`
    await expect(text).toMatchFileSnapshot('../vectors/bridge_vlan_kernel.txt')
    rig.lab.balance()
  })
})
