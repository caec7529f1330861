/**
 * The client's end of a connection benchmark: a number of slots, each of which opens its next
 * connection when its last is over.
 *
 * ```text
 *   Free -> Opening   SYN sent
 *        -> Asking    SYN+ACK seen; our octet sent, and the ACK with it
 *        -> Closing   the answer and FIN seen; FIN sent, and the ACK with it
 *        -> Free      our FIN is acknowledged
 * ```
 *
 * A connection is over when its last segment is acknowledged, and counts if its answer came before
 * the FIN. What a slot waits for in vain for {@link RESEND_MS} is asked for again, up to
 * {@link TRIES_MAX} times; then it has failed, as after a RST. The answer alone is acknowledged
 * with the FIN that follows it, or when it is seen twice.
 *
 * Source ports are taken in turn, so that one is used again as late as possible, and initial
 * sequence numbers rise, so that a peer that still remembers the port (TIME_WAIT) lets it begin
 * anew (RFC 9293 §3.6.1). Latencies are counted by the microsecond, so their memory is bounded.
 */
import { Flag } from '../../stack/ip/tcp.ts'
import * as segment from './segment.ts'
import { type RawSocket, SEND_BYTES } from './socket.ts'

const State = { Free: 0, Opening: 1, Asking: 2, Closing: 3 } as const
/** Longer than a busy system takes: to be asked twice would be a load of ours. */
const RESEND_MS = 500
const TRIES_MAX = 20
/** Between two looks for slots that wait in vain. */
const LOOK_MS = 10

const [PORT_MIN, PORT_MAX] = [1024, 65535] as const
const NO_SLOT = -1
/** Between the initial sequence numbers of two connections: more than one takes. */
const SEQ_STEP = 4
/** What they rise by from one run to the next: more than {@link SEQ_STEP} for each connection. */
const SEQ_STEPS_A_MS = 1000
/** Latencies from here on are counted as this. */
const LATENCY_MAX_US = 1 << 20

export class RawClient {
  done = 0
  failed = 0
  resent = 0
  readonly #latencies = new Uint32Array(LATENCY_MAX_US + 1)
  #answered = 0
  #open = 0
  #nextPort: number = PORT_MAX
  #nextSeq: number
  #nowMs = 0
  #lookMs = 0
  readonly #socket: RawSocket
  readonly #toPort: number
  readonly #slots: number
  readonly #slotOf = new Int32Array(PORT_MAX + 1).fill(NO_SLOT)
  readonly #state: Uint8Array
  readonly #port: Uint16Array
  readonly #tries: Uint8Array
  readonly #heard: Uint8Array
  /** Of the SYN; the octet follows it, then the FIN. */
  readonly #seq: Uint32Array
  /** What we expect next. */
  readonly #expected: Uint32Array
  readonly #sinceMs: Float64Array
  readonly #sentMs: Float64Array

  /** `epochMs` decides where sequence numbers begin: no run repeats those of another. */
  constructor(
    socket: RawSocket,
    path: segment.Path,
    { port, slots, epochMs }: { port: number; slots: number; epochMs: number },
  ) {
    this.#socket = socket
    this.#toPort = port
    this.#slots = slots
    this.#nextSeq = (epochMs * SEQ_STEPS_A_MS) >>> 0
    this.#state = new Uint8Array(slots)
    this.#port = new Uint16Array(slots)
    this.#tries = new Uint8Array(slots)
    this.#heard = new Uint8Array(slots)
    this.#seq = new Uint32Array(slots)
    this.#expected = new Uint32Array(slots)
    this.#sinceMs = new Float64Array(slots)
    this.#sentMs = new Float64Array(slots)
    for (let at = 0; at < socket.out.length; at += SEND_BYTES) {
      segment.putPath(socket.out, at, path)
    }
  }

  /** Connections that are not over. */
  get open(): number {
    return this.#open
  }

  /** The latency below which the fraction `q` of the answers came; not a number without any. */
  latencyUs(q: number): number {
    let left = this.#answered * q
    for (let us = 0; us <= LATENCY_MAX_US && this.#answered > 0; us++) {
      left -= this.#latencies[us]!
      if (left <= 0) return us
    }
    return Number.NaN
  }

  /** Wait for segments and deal with them; begin connections in free slots if `more`. */
  turn(more: boolean): void {
    const { ring } = this.#socket
    this.#socket.wait(LOOK_MS)
    this.#nowMs = performance.now()
    for (let at = this.#socket.next(); at >= 0; at = this.#socket.next()) {
      if (segment.isSegment(ring, at, this.#socket.bytes)) this.#hear(at, more)
      this.#socket.release()
    }
    if (this.#nowMs >= this.#lookMs) this.#look(more)
    this.#socket.flush()
  }

  #begin(slot: number): void {
    do this.#nextPort = this.#nextPort === PORT_MAX ? PORT_MIN : this.#nextPort + 1
    while (this.#slotOf[this.#nextPort] !== NO_SLOT)
    this.#nextSeq = (this.#nextSeq + SEQ_STEP) >>> 0
    this.#slotOf[this.#nextPort] = slot
    this.#port[slot] = this.#nextPort
    this.#seq[slot] = this.#nextSeq
    this.#expected[slot] = 0
    this.#heard[slot] = 0
    this.#sinceMs[slot] = this.#nowMs
    this.#open++
    this.#enter(slot, State.Opening)
  }

  #hear(at: number, more: boolean): void {
    const { ring } = this.#socket
    const slot = this.#slotOf[segment.portTo(ring, at)]!
    if (slot === NO_SLOT) return
    const flags = segment.flags(ring, at)
    const sent = (segment.ack(ring, at) - this.#seq[slot]!) >>> 0
    if ((flags & Flag.Rst) !== 0) {
      this.failed++
      this.#free(slot)
    } else if (this.#state[slot] === State.Opening) {
      this.#hearOpening(slot, at, flags, sent)
    } else if (this.#state[slot] === State.Asking) {
      this.#hearAnswer(slot, at, flags)
    } else if (sent === 3) {
      if (this.#heard[slot] === 1) this.done++
      else this.failed++
      this.#free(slot)
      if (more) this.#begin(slot)
    }
  }

  #hearOpening(slot: number, at: number, flags: number, sent: number): void {
    const { ring } = this.#socket
    if (sent !== 1) {
      // Of a connection that we no longer know (RFC 9293 §3.10.7.3); then our SYN goes again.
      this.#send(slot, segment.ack(ring, at), Flag.Rst)
    } else if ((flags & Flag.Syn) !== 0) {
      this.#expected[slot] = segment.seq(ring, at) + 1
      this.#enter(slot, State.Asking)
    }
  }

  #hearAnswer(slot: number, at: number, flags: number): void {
    const { ring } = this.#socket
    const octets = segment.octets(ring, at)
    const fin = flags & Flag.Fin // 0x01, the length of a FIN
    if (octets === 0 && fin === 0) return
    const known = (this.#expected[slot]! - segment.seq(ring, at)) | 0
    if (known < 0 || known >= octets + fin) {
      // Too early, or nothing new: say what we expect.
      this.#send(slot, this.#seq[slot]! + 2, Flag.Ack)
      return
    }
    if (octets > known) {
      this.#heard[slot] = 1
      this.#answered++
      const us = (this.#nowMs - this.#sinceMs[slot]!) * 1000
      this.#latencies[us < LATENCY_MAX_US ? us | 0 : LATENCY_MAX_US]!++
    }
    this.#expected[slot] = this.#expected[slot]! + octets + fin - known
    if (fin !== 0) this.#enter(slot, State.Closing)
  }

  /** Send what a state begins with. */
  #enter(slot: number, state: number): void {
    this.#state[slot] = state
    this.#tries[slot] = 0
    this.#sendState(slot)
  }

  #sendState(slot: number): void {
    const seq = this.#seq[slot]!
    this.#sentMs[slot] = this.#nowMs
    switch (this.#state[slot]) {
      case State.Opening:
        return this.#send(slot, seq, Flag.Syn)
      case State.Asking:
        return this.#send(slot, seq + 1, Flag.Psh | Flag.Ack)
      default:
        return this.#send(slot, seq + 2, Flag.Fin | Flag.Ack)
    }
  }

  #send(slot: number, seq: number, flags: number): void {
    const { out, room } = this.#socket
    segment.putPorts(out, room, this.#port[slot]!, this.#toPort)
    this.#socket.queue(segment.finish(out, room, seq, this.#expected[slot]!, flags))
  }

  #free(slot: number): void {
    this.#slotOf[this.#port[slot]!] = NO_SLOT
    this.#state[slot] = State.Free
    this.#open--
  }

  /** What is overdue is sent again; slots that a failure left free begin anew only here. */
  #look(more: boolean): void {
    this.#lookMs = this.#nowMs + LOOK_MS
    for (let slot = 0; slot < this.#slots; slot++) {
      if (this.#state[slot] === State.Free) {
        if (more) this.#begin(slot)
      } else if (this.#nowMs - this.#sentMs[slot]! >= RESEND_MS) {
        this.#again(slot)
      }
    }
  }

  #again(slot: number): void {
    if (this.#tries[slot]!++ === TRIES_MAX) {
      this.failed++
      this.#free(slot)
      return
    }
    this.resent++
    this.#sendState(slot)
  }
}
