/**
 * What the paths to peers really carry, found by trying (in the spirit of RFC 8899): a switch in
 * between that drops large packets without an ICMP error is unknown to the host.
 *
 * ```text
 *   check ──answered──> done                        ┌──answered──┐
 *     └──lost, small ones not──> climb: 1280, 1340 ─┴> ... ──lost┴──> limit: the last answered
 * ```
 * A try is a padded question with a small one behind it. Where the small one is answered, and the
 * padded one is not {@link BEHIND_MS} later either, that is a loss; {@link TRIES} of them are a
 * size that does not arrive. Then sizes are climbed, not descended: one that arrives costs a round
 * trip, one that does not some seconds. The last step is what the host believes, so mere loss must
 * strike twice.
 *
 * What is checked is the size in force. Each {@link RAISE_MS}, and when the host believes something
 * else, it is what the host believes, and the limit stays until that or a larger step arrives.
 * Who answers no small ones is not judged.
 *
 * Bounded: one try outstanding a peer, {@link PROBES_MAX} in all; others wait for their turn.
 */
import type { Cancel, Clock } from '../clock.ts'
import type { Random } from '../random.ts'
import { PEERS_MAX } from '../udp/peer_table.ts'
import type { Underlay } from '../udp/underlay.ts'

/** Until a try counts as unanswered. RFC 8899 §5.1.1: not below a second. */
const TRY_MS = 1000
/** How much later than the small question's a padded one's answer may come, by another way. */
export const BEHIND_MS = 300
/** So many that a loss of 10 % each way makes one false alarm in ten thousand. */
export const TRIES = 5
/** As many unanswered small questions end it: RFC 8899 §5.1.2, MAX_PROBES. */
const SILENCES = 3
/** RFC 8899 §5.1.1, PMTU_RAISE_TIMER. */
export const RAISE_MS = 600_000
/** Some 32 packets of a usual size, or half a megabyte of jumbo frames, on their way at once. */
const PROBES_MAX = 32
/** IP packets, octets: what tunnels, PPPoE, clouds and jumbo frames leave. First, the floor. */
const SIZES = [
  1280, 1340, 1360, 1380, 1400, 1420, 1440, 1450, 1460, 1472, 1480, 1492, 1500, 1550, 1600, 2000,
  3000, 4000, 4352, 6000, 8000, 8500, 8900, 8950, 9000, 9100, 9600, 16_000, 32_000, 48_000,
] as const
const FLOOR_BYTES = SIZES[0]
/** The host's belief is checked, and no size was climbed to yet. */
const CHECKING = -1

interface Probe {
  readonly peer: number
  /** Repeated by the answer. */
  nonce: number
  /** Tried now. */
  bytes: number
  /** The largest that arrived while climbing; 0: none yet. */
  good: number
  /** A small question of this try was answered. */
  heard: boolean
  /** Tries of which only the padded question was lost, and of which both were. */
  losses: number
  silences: number
  cancel: Cancel
}

export interface PathProbeOptions {
  readonly clock: Clock
  readonly random: Random
  readonly underlay: Underlay
  /** Ask in an IP packet of `bytes` octets for an answer with the nonce, and in a small one. */
  readonly ask: (peer: number, nonce: number, bytes: number) => void
}

export class PathProbe {
  readonly #o: PathProbeOptions
  readonly #active = new Map<number, Probe>()
  /** In the order they came. */
  readonly #waiting = new Set<number>()
  /** What the host believed when more than the limit was tried last, and when to do that again. */
  readonly #hostBytes = new Int32Array(PEERS_MAX)
  readonly #raiseAtMs = new Float64Array(PEERS_MAX)

  constructor(options: PathProbeOptions) {
    this.#o = options
  }

  /** A peer that understands padded questions answered a small one that begins a round. */
  check(peer: number): void {
    if (this.#active.has(peer)) return this.heard(peer)
    this.#waiting.add(peer)
    this.#startWaiting()
  }

  /** A peer answered a small question. */
  heard(peer: number): void {
    const probe = this.#active.get(peer)
    if (probe === undefined || probe.heard) return
    probe.heard = true
    this.#wait(probe, BEHIND_MS)
  }

  /** A peer answered a question with this nonce, which may be a padded one. */
  answered(peer: number, nonce: number): void {
    const probe = this.#active.get(peer)
    if (probe === undefined || probe.nonce !== nonce) return
    const { underlay } = this.#o
    if (probe.bytes >= underlay.hostPathBytes(peer)) {
      underlay.limitPath(peer, 0)
      this.#end(probe)
    } else if (probe.good === CHECKING) this.#end(probe)
    else {
      probe.good = probe.bytes
      this.#turnTo(probe, this.#above(probe))
    }
  }

  /** Nothing is known of the path to a peer, nor asked any more. Idempotent. */
  forget(peer: number): void {
    this.#waiting.delete(peer)
    const probe = this.#active.get(peer)
    if (probe !== undefined) this.#end(probe)
    this.#o.underlay.limitPath(peer, 0)
    this.#hostBytes[peer] = 0
  }

  /** Idempotent. */
  close(): void {
    this.#waiting.clear()
    for (const probe of this.#active.values()) probe.cancel()
    this.#active.clear()
  }

  #startWaiting(): void {
    for (const peer of this.#waiting) {
      if (this.#active.size >= PROBES_MAX) return
      this.#waiting.delete(peer)
      this.#start(peer)
    }
  }

  #start(peer: number): void {
    const { clock, underlay } = this.#o
    if (underlay.peer(peer) === undefined) return
    const hostBytes = underlay.hostPathBytes(peer)
    let bytes = underlay.pathMtuBytes(peer)
    if (hostBytes !== this.#hostBytes[peer] || clock.nowMs >= this.#raiseAtMs[peer]!) {
      this.#hostBytes[peer] = hostBytes
      this.#raiseAtMs[peer] = clock.nowMs + RAISE_MS
      bytes = hostBytes
    }
    if (bytes <= FLOOR_BYTES) return
    const probe: Probe = {
      peer,
      nonce: 0,
      bytes,
      good: CHECKING,
      heard: false,
      losses: 0,
      silences: 0,
      cancel: () => {},
    }
    this.#active.set(peer, probe)
    this.#turnTo(probe, bytes)
  }

  #turnTo(probe: Probe, bytes: number): void {
    probe.nonce = this.#o.random.bits()
    probe.bytes = bytes
    probe.losses = 0
    probe.silences = 0
    this.#try(probe)
  }

  #try(probe: Probe): void {
    probe.heard = false
    this.#wait(probe, TRY_MS)
    this.#o.ask(probe.peer, probe.nonce, probe.bytes)
  }

  #wait(probe: Probe, ms: number): void {
    probe.cancel()
    probe.cancel = this.#o.clock.after(ms, () => this.#late(probe))
  }

  #late(probe: Probe): void {
    const { peer } = probe
    const { underlay } = this.#o
    if (underlay.peer(peer) === undefined) return this.#end(probe)
    const hostBytes = underlay.hostPathBytes(peer)
    // An ICMP error came meanwhile: larger ones do not leave at all.
    if (probe.bytes > hostBytes) return this.#turnTo(probe, hostBytes)
    if (probe.heard) probe.losses++
    else probe.silences++
    if (probe.silences >= SILENCES) return this.#end(probe)
    if (probe.losses < TRIES) return this.#try(probe)
    if (probe.good === CHECKING) {
      probe.good = 0
      return this.#turnTo(probe, this.#above(probe))
    }
    underlay.limitPath(peer, Math.max(FLOOR_BYTES, probe.good))
    this.#end(probe)
  }

  /** The next step of a climb. */
  #above({ peer, good }: Probe): number {
    const hostBytes = this.#o.underlay.hostPathBytes(peer)
    return SIZES.find((bytes) => bytes > good && bytes < hostBytes) ?? hostBytes
  }

  #end(probe: Probe): void {
    probe.cancel()
    this.#active.delete(probe.peer)
    this.#startWaiting()
  }
}
