/**
 * What entries of the flow cache rest on where endpoints have a policy: the flows that it admitted
 * on the way in and on the way out. Beside the entries, and there only if there is any policy.
 *
 * ```text
 *   an entry     way in: flow + 1, serial | way out: flow + 1, serial         0: no policy there
 * ```
 *
 * An entry is good while these flows are; each packet that it passes keeps them alive, as the
 * policies would have. See policy_flows.ts for the serial numbers.
 */
import { type FlowNotes, WAYS } from '../flow_notes.ts'
import type { FlowTable } from '../flow_table.ts'
import type { Packet } from '../packet.ts'
import type { PolicyFlows } from './policy_flows.ts'

const WORDS = 2 * WAYS

export class FlowGuards {
  readonly #flows: PolicyFlows
  readonly #words: Int32Array

  /** For the entries of `table`. */
  constructor(flows: PolicyFlows, table: FlowTable) {
    this.#flows = flows
    this.#words = new Int32Array(table.entriesMax * WORDS)
  }

  /** The entry is made with these notes. */
  keep(entry: number, { policyFlows, policySerials }: FlowNotes): void {
    for (let way = 0; way < WAYS; way++) {
      this.#words[entry * WORDS + 2 * way] = policyFlows[way]!
      this.#words[entry * WORDS + 2 * way + 1] = policySerials[way]!
    }
  }

  /** False: the entry must be made anew. */
  holds(entry: number): boolean {
    for (let at = entry * WORDS; at < (entry + 1) * WORDS; at += 2) {
      const flow = this.#words[at]! - 1
      if (flow >= 0 && !this.#flows.holds(flow, this.#words[at + 1]!)) return false
    }
    return true
  }

  /** A packet passes that policy. Precondition: the entry holds. */
  touch(entry: number, way: number, packet: Packet): void {
    const flow = this.#words[entry * WORDS + 2 * way]! - 1
    if (flow >= 0) this.#flows.touch(flow, packet)
  }
}
