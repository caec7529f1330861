/**
 * A million concurrent flows: what one takes in memory, what a new one takes in time, and what it
 * takes to find one, in random order, among a million and among a thousand.
 *
 * ```text
 *   connection table   both tuples of a connection are set up, the original one is looked up
 *   flow cache         one entry a flow; room for twice as many, so that few push out another
 * ```
 *
 * Memory is told twice: what the arrays of a full table take, and by how much the process has grown
 * when all are there. Look-ups are only of flows that are there.
 */
import { VirtualClock } from '../../stack/clock.ts'
import { FlowTable, PORTS as KEY_PORTS, SRC as KEY_SRC } from '../../stack/flow_table.ts'
import { Conntrack } from '../../stack/ip/conntrack.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import { DST, PORTS, PROTOCOL, SRC, TUPLE_WORDS } from '../../stack/ip/tuple.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { FLOWS, fill } from './fill.ts'
import { OPERATIONS, type Piece } from './piece.ts'
import type { PieceResult } from './result.ts'

/** The other number of flows, whose entries stay in the processor's caches. */
const FEW = 1000
const SEED = 1
const CLIENTS = 0x0a01_0000
const SERVER = 0x0a02_0001
const NODE = 0x0a02_0002
const MAPPED = 0xffff
const EPOCH = 1
const FLOW_TEXT = FLOWS.toLocaleString('en-US')

export interface Measured {
  /** Still to be timed. */
  readonly pieces: readonly Piece[]
  readonly results: readonly PieceResult[]
}

/** Connection `i`: 16 clients with 65,536 ports each. */
function client(i: number): number {
  return CLIENTS | (i >>> 16)
}

function ports(i: number): number {
  return ((i & 0xffff) << 16) | 443
}

/** The tuples of TCP connections; what differs is filled in by {@link putTuples}. */
function tuples(): { original: Int32Array; reply: Int32Array } {
  const original = new Int32Array(TUPLE_WORDS)
  original[SRC + 2] = MAPPED
  original[DST + 2] = MAPPED
  original[DST + 3] = SERVER
  original[PROTOCOL] = ipv4.Protocol.Tcp
  const reply = original.slice()
  reply[SRC + 3] = SERVER
  reply[DST + 3] = NODE
  return { original, reply }
}

type Tuples = ReturnType<typeof tuples>

function putTuples({ original, reply }: Tuples, i: number): void {
  original[SRC + 3] = client(i)
  original[PORTS] = ports(i)
  // Masqueraded: each client's as ports of an address of its own.
  reply[DST + 3] = NODE + (i >>> 16)
  reply[PORTS] = (443 << 16) | (i & 0xffff)
}

/** Octets by which the process grows over `make`, for each of so many flows. */
function grown(name: string, count: number, make: () => void): PieceResult {
  const before = process.memoryUsage.rss()
  make()
  return { name, unit: 'octets', median: (process.memoryUsage.rss() - before) / count }
}

function newConntrack(entriesMax: number): Conntrack {
  const pool = new Pool({ smallCount: 2, largeCount: 2 })
  return new Conntrack({ pool, clock: new VirtualClock(), seed: SEED, entriesMax })
}

function addTo(conntrack: Conntrack): (i: number) => boolean {
  const made = tuples()
  return (i) => {
    putTuples(made, i)
    return conntrack.insert(made.original, made.reply) >= 0
  }
}

/** Look `operations` of these up, one after the other from call to call. */
function lookUps(name: string, which: Int32Array, find: (i: number) => number): Piece {
  let at = 0
  return {
    name,
    operations: OPERATIONS,
    run: () => {
      let total = 0
      for (let n = 0; n < OPERATIONS; n++) {
        total += find(which[at]!)
        at = at + 1 < which.length ? at + 1 : 0
      }
      return total
    },
  }
}

/** 0 to `count` - 1, in random order. */
function shuffled(count: number): Int32Array {
  const random = new Random(SEED)
  const order = Int32Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const other = random.below(i + 1)
    const kept = order[i]!
    order[i] = order[other]!
    order[other] = kept
  }
  return order
}

function findConnection(conntrack: Conntrack, order: Int32Array): Piece {
  const made = tuples()
  const name = `connection look-up among ${order.length.toLocaleString('en-US')}`
  return lookUps(name, order, (i) => {
    putTuples(made, i)
    return conntrack.find(made.original)
  })
}

function connections(many: Int32Array, few: Int32Array): Measured {
  let conntrack: Conntrack | undefined
  let filled: PieceResult[] = []
  const resident = grown('connection, both directions: resident', FLOWS, () => {
    conntrack = newConntrack(FLOWS)
    filled = fill('new connection in the connection table', FLOWS, addTo(conntrack))
  })
  const small = newConntrack(FEW)
  fill('few connections', FEW, addTo(small))
  const entryBytes: PieceResult = {
    name: 'connection, both directions: arrays',
    unit: 'octets',
    median: conntrack!.entryBytes,
  }
  const pieces = [findConnection(conntrack!, many), findConnection(small, few)]
  return { pieces, results: [entryBytes, resident, ...filled] }
}

/** Put flow `i` into a key of the flow cache. */
function putKey(key: Int32Array, i: number): void {
  key[KEY_PORTS] = ports(i)
  key[KEY_SRC] = client(i)
}

function newKey(): Int32Array {
  // Port and type, MACs, protocol, ports, both addresses: see flow_table.ts.
  return Int32Array.of(0x1_0800, 0x0200, 1, 2, ipv4.Protocol.Tcp, 0, 0, SERVER)
}

function fillCache(table: FlowTable, count: number): PieceResult[] {
  const key = newKey()
  return fill('new entry in the flow cache', count, (i) => {
    putKey(key, i)
    const entry = table.insert(key, false, EPOCH, i)
    table.words[entry * table.stride + table.epochAt] = EPOCH
    return entry >= 0
  })
}

function findEntry(table: FlowTable, order: Int32Array): Piece {
  const key = newKey()
  const find = (i: number): number => {
    putKey(key, i)
    return table.find(key)
  }
  const held = order.filter((i) => find(i) >= 0)
  const name = `flow cache look-up among ${order.length.toLocaleString('en-US')}`
  return lookUps(name, held, find)
}

function cached(many: Int32Array, few: Int32Array): Measured {
  const options = { addressWords: 1, seed: SEED }
  let table: FlowTable | undefined
  let filled: PieceResult[] = []
  const resident = grown(`flow cache of ${FLOW_TEXT}, a flow: resident`, FLOWS, () => {
    table = new FlowTable({ ...options, entriesMax: 2 * FLOWS })
    filled = fillCache(table, FLOWS)
  })
  const small = new FlowTable({ ...options, entriesMax: 2 * FEW })
  fillCache(small, FEW)
  const entryBytes: PieceResult = {
    name: 'flow cache, an entry: arrays',
    unit: 'octets',
    median: table!.entryBytes,
  }
  const pieces = [findEntry(table!, many), findEntry(small, few)]
  return { pieces, results: [entryBytes, resident, filled[0]!] }
}

export function measureFlows(): Measured {
  const many = shuffled(FLOWS)
  const few = shuffled(FEW)
  const parts = [connections(many, few), cached(many, few)]
  return {
    pieces: parts.flatMap(({ pieces }) => pieces),
    results: parts.flatMap(({ results }) => results),
  }
}
