/**
 * Which backend a client had last: session affinity by address, for a while after its last new
 * connection. Bounded; when it is full, clients that are new are not remembered, and counted.
 */
import { PERMANENT, Table } from '../table.ts'
import { SRC } from './tuple.ts'

/** Clients remembered a service: 3 MB. */
const CLIENTS_MAX = 65_536
/** Entries looked at for each new connection, so that what is over goes. */
const SWEEP = 4

export interface AffinityOptions {
  readonly seed: number
  readonly timeoutMs: number
  readonly clientsMax?: number
}

export class Affinity {
  timeoutMs: number
  /** New clients that there was no room for. */
  overflows = 0
  readonly #table: Table
  readonly #expire: (entry: number) => void

  constructor({ seed, timeoutMs, clientsMax = CLIENTS_MAX }: AffinityOptions) {
    this.timeoutMs = timeoutMs
    this.#table = new Table({ keyWords: 4, valueWords: 1, entriesMax: clientsMax, seed })
    this.#expire = (entry) => this.#table.remove(entry)
  }

  get count(): number {
    return this.#table.count
  }

  /** The backend of the client of a tuple, or -1. */
  find(tuple: Int32Array, nowMs: number): number {
    const entry = this.#entry(tuple)
    if (entry < 0 || this.#table.seenMs[entry]! + this.timeoutMs < nowMs) return -1
    return this.#table.values[entry]!
  }

  /** The client of a tuple has a connection to this backend. */
  note(tuple: Int32Array, backend: number, nowMs: number): void {
    const table = this.#table
    table.sweep(nowMs - this.timeoutMs, SWEEP, this.#expire)
    let entry = this.#entry(tuple)
    if (entry < 0) entry = table.insert(nowMs)
    if (entry < 0) {
      this.overflows++
      return
    }
    table.values[entry] = backend
    table.seenMs[entry] = nowMs
  }

  /** A backend goes: its index may be another's soon. */
  forget(backend: number): void {
    const table = this.#table
    const drop = (entry: number): void => {
      if (table.values[entry] === backend) table.remove(entry)
    }
    table.sweep(PERMANENT, table.entriesMax, drop)
  }

  #entry(tuple: Int32Array): number {
    const { key } = this.#table
    for (let i = 0; i < 4; i++) key[i] = tuple[SRC + i]!
    return this.#table.find()
  }
}
