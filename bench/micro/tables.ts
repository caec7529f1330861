/** Look-ups: a station in the FDB, and a route among a hundred thousand. */
import { ipv4, loadWords } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { AGE_MS, FDB_MAX, Fdb } from '../../stack/eth/fdb.ts'
import { Fib } from '../../stack/ip/fib.ts'
import { Random } from '../../stack/random.ts'
import { OPERATIONS, type Piece } from './piece.ts'

const STATIONS = 4096
const ROUTES = 100_000
/** Every run of this file measures the same tables. */
const SEED = 1

function fdbPiece(): Piece {
  const clock = new VirtualClock()
  const fdb = new Fdb({
    clock,
    seed: SEED,
    entriesMax: FDB_MAX,
    ageMs: AGE_MS,
    changed: () => {},
  })
  const random = new Random(SEED)
  const stations = Int32Array.from({ length: STATIONS }, () => random.bits())
  for (const lo of stations) if (fdb.find(0, 0x0200, lo) < 0) fdb.learn(0, 0x0200, lo, 1)
  return {
    name: `FDB look-up among ${STATIONS} stations`,
    operations: STATIONS,
    run: () => {
      let total = 0
      for (let i = 0; i < STATIONS; i++) total += fdb.find(0, 0x0200, stations[i]!)
      return total
    },
  }
}

/** Prefix lengths much as they are on the Internet: half are /24, the rest between /12 and /23. */
function fibPiece(): Piece {
  const fib = new Fib(4)
  const random = new Random(SEED)
  while (fib.size < ROUTES) {
    const bits = random.chance(50) ? 24 : 12 + random.below(12)
    fib.add({ prefix: { address: ipv4(random.bits()), bits }, kind: 'static', link: 0 })
  }
  const mem = new Uint8Array(OPERATIONS * 4)
  for (let i = 0; i < mem.length; i++) mem[i] = random.below(256)
  const words = new Int32Array(4)
  return {
    name: `route look-up among ${ROUTES} routes, random destinations`,
    operations: OPERATIONS,
    run: () => {
      let total = 0
      for (let i = 0; i < OPERATIONS; i++) {
        loadWords(mem, i * 4, 4, words)
        total += fib.lookup(words, 0)
      }
      return total
    },
  }
}

export function tablePieces(): Piece[] {
  return [fdbPiece(), fibPiece()]
}
