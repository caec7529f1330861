/**
 * What the control plane knows of one network: which address is at which MAC, behind which port.
 *
 * The proxies of a network share one of these (proxy.ts): it answers for the addresses in it, and
 * it is what a claim to an address is judged by. The gateway's addresses are in it too, at port 0.
 *
 * Both families live in one table, keyed by the four words of address.ts. Look-ups return an entry
 * number, good until the next `set` or `delete`; nothing here ages, the controller owns it.
 */
import { type Address, formatWords, loadWords, MAPPED } from '../address.ts'
import { StackError } from '../errors.ts'
import { formatMac, type Mac } from '../eth/mac.ts'
import { PERMANENT, Table } from '../table.ts'

/** A thousand endpoints with IPv4, IPv6 and link-local addresses, and room. */
const ENTRIES_MAX = 4096

const WORDS = 4
const VALUES = 3
const HI = 0
const LO = 1
const PORT = 2

export interface BindingsOptions {
  readonly entriesMax?: number
  /** See {@link Table}. */
  readonly seed: number
}

export interface Binding {
  readonly address: string
  readonly mac: string
  readonly port: number
}

export class Bindings {
  readonly #table: Table

  constructor({ entriesMax = ENTRIES_MAX, seed }: BindingsOptions) {
    this.#table = new Table({ keyWords: WORDS, valueWords: VALUES, entriesMax, seed })
  }

  /**
   * Bind an address, or bind it anew. `port` is the counters port of the device behind which it
   * is; 0: the network's gateway. @throws StackError `exhausted`.
   */
  set(address: Address, mac: Mac, port: number): void {
    const table = this.#table
    table.key.set(address.words)
    let entry = table.find()
    if (entry < 0) entry = table.insert(PERMANENT)
    if (entry < 0) {
      throw new StackError('exhausted', `more than ${table.entriesMax} addresses in one network`)
    }
    const at = entry * VALUES
    table.values[at + HI] = mac.hi
    table.values[at + LO] = mac.lo
    table.values[at + PORT] = port
  }

  /** Forget an address. Idempotent. */
  delete(address: Address): void {
    this.#table.key.set(address.words)
    const entry = this.#table.find()
    if (entry >= 0) this.#table.remove(entry)
  }

  /** The entry of an address, or -1: for the control plane. */
  find(address: Address): number {
    this.#table.key.set(address.words)
    return this.#table.find()
  }

  /** The entry of an IPv4 address, or -1. */
  find4(address: number): number {
    const { key } = this.#table
    key[0] = 0
    key[1] = 0
    key[2] = MAPPED
    key[3] = address
    return this.#table.find()
  }

  /** The entry of the IPv6 address at `at`, or -1. */
  find6(mem: Uint8Array, at: number): number {
    loadWords(mem, at, 6, this.#table.key)
    return this.#table.find()
  }

  port(entry: number): number {
    return this.#table.values[entry * VALUES + PORT]!
  }

  /** First 16 bits of the MAC. */
  macHi(entry: number): number {
    return this.#table.values[entry * VALUES + HI]!
  }

  /** Last 32 bits of the MAC, signed. */
  macLo(entry: number): number {
    return this.#table.values[entry * VALUES + LO]!
  }

  /** All of them, for listings. */
  list(): Binding[] {
    const table = this.#table
    const all: Binding[] = []
    for (let e = table.nextLive(0); e >= 0; e = table.nextLive(e + 1)) {
      all.push({
        address: formatWords(table.keys, e * WORDS),
        mac: formatMac({ hi: this.macHi(e), lo: this.macLo(e) }),
        port: this.port(e),
      })
    }
    return all
  }
}
