/**
 * A network of nodes in memory: what is between their underlays (memory_underlay.ts). From each
 * node to each other leads a wire of its own, a {@link Lane}, with faults of its own.
 */
import { type Address, formatAddress, sameAddress } from '../address.ts'
import type { Clock } from '../clock.ts'
import { StackError } from '../errors.ts'
import { type CableFaults, Lane, type LaneCounts } from '../eth/lane.ts'
import type { Random } from '../random.ts'
import { MemoryUnderlay, type MemoryUnderlayOptions } from './memory_underlay.ts'

/** What a wire between two nodes does; `mtuBytes` is the largest IP packet that it carries. */
export interface WireFaults extends CableFaults {
  readonly mtuBytes?: number
  /** What is larger is lost without a word to its sender. Default false. */
  readonly silent?: boolean
}

interface Wire {
  readonly from: MemoryUnderlay
  readonly to: MemoryUnderlay
  readonly lane: Lane
}

/** Nodes, and the wires between every two of them. */
export class MemoryNet {
  readonly #clock: Clock
  readonly #random: Random
  readonly #underlays: MemoryUnderlay[] = []
  readonly #wires: Wire[] = []
  #faults: WireFaults = {}
  readonly #own = new Map<string, WireFaults>()

  constructor({ clock, random }: { readonly clock: Clock; readonly random: Random }) {
    this.#clock = clock
    this.#random = random
  }

  /** @throws StackError `exists` if another node has the address. */
  open(options: MemoryUnderlayOptions): MemoryUnderlay {
    if (this.find(options.address) !== undefined) {
      throw new StackError('exists', `${formatAddress(options.address)} is another node's`)
    }
    const underlay = new MemoryUnderlay(options, this, this.#random.bits())
    this.#underlays.push(underlay)
    return underlay
  }

  /** What every wire does, unless told otherwise of it. Packets on their way keep their fate. */
  setFaults(faults: WireFaults): void {
    this.#faults = faults
    this.#own.clear()
    for (const { lane } of this.#wires) lane.setFaults(faults)
  }

  /** What the two wires between two nodes do; undefined: what all do. */
  setFaultsBetween(a: Address, b: Address, faults: WireFaults | undefined): void {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const key = wireKey(from, to)
      if (faults === undefined) this.#own.delete(key)
      else this.#own.set(key, faults)
      const wire = this.#wires.find((w) => wireKey(w.from.address, w.to.address) === key)
      wire?.lane.setFaults(faults ?? this.#faults)
    }
  }

  find(address: Address): MemoryUnderlay | undefined {
    return this.#underlays.find((underlay) => sameAddress(underlay.address, address))
  }

  /** Who else has the group among its peers. */
  members(group: Address, but: MemoryUnderlay): MemoryUnderlay[] {
    return this.#underlays.filter((other) => other !== but && other.hasPeer(group))
  }

  /** The wire, made when first asked for. */
  lane(from: MemoryUnderlay, to: MemoryUnderlay): Lane {
    const known = this.#wires.find((wire) => wire.from === from && wire.to === to)
    if (known !== undefined) return known.lane
    const lane = new Lane({
      pool: from.pool,
      clock: this.#clock,
      random: this.#random,
      port: from.port,
      arrive: (packet) => to.arrive(packet, from.pool),
    })
    lane.setFaults(this.#faultsOf(from.address, to.address))
    this.#wires.push({ from, to, lane })
    return lane
  }

  mtuBytes(from: Address, to: Address): number {
    return this.#faultsOf(from, to).mtuBytes ?? Number.POSITIVE_INFINITY
  }

  isSilent(from: Address, to: Address): boolean {
    return this.#faultsOf(from, to).silent ?? false
  }

  /** Counts of all wires that leave a node. */
  counts(from: MemoryUnderlay): LaneCounts[] {
    return this.#wires.filter((wire) => wire.from === from).map(({ lane }) => lane.counts)
  }

  /** For {@link MemoryUnderlay.close} only. */
  remove(underlay: MemoryUnderlay): void {
    this.#underlays.splice(this.#underlays.indexOf(underlay), 1)
    for (const wire of this.#wires.filter((w) => w.from === underlay || w.to === underlay)) {
      wire.lane.abandon()
      this.#wires.splice(this.#wires.indexOf(wire), 1)
    }
  }

  #faultsOf(from: Address, to: Address): WireFaults {
    return this.#own.get(wireKey(from, to)) ?? this.#faults
  }
}

function wireKey(from: Address, to: Address): string {
  return `${formatAddress(from)} ${formatAddress(to)}`
}
