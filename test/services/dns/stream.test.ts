/** The server's side of TCP, against a plain client on a link that loses and doubles. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Segment, Stream } from '../../../services/dns/stream.ts'
import { VirtualClock } from '../../../stack/clock.ts'
import { Flag } from '../../../stack/ip/tcp.ts'
import { Random } from '../../../stack/random.ts'

const NONE = new Uint8Array(0)
const RESEND_MS = 250
const LATENCY_MS = 4
const ISS = 0xffff_ff00

function framed(message: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(message.length >>> 8, message.length), message])
}

/** Sends all its messages, then FIN; sends again what was not acknowledged, from the start. */
class Client {
  readonly clock = new VirtualClock()
  readonly replies: Buffer[] = []
  readonly heard: Buffer[] = []
  closed = 0
  finishedMs = 0
  reset = false
  stream: Stream | undefined
  readonly #random: Random
  readonly #lossPct: number
  readonly #out: Buffer
  readonly #mss: number
  readonly #window: number
  #una = 1000
  #next = 0
  #in: Buffer = Buffer.alloc(0)
  #connected = false
  #finished = false

  constructor(o: {
    messages: Buffer[]
    seed: number
    lossPct: number
    mss: number
    window: number
  }) {
    this.#random = new Random(o.seed)
    this.#lossPct = o.lossPct
    this.#mss = o.mss
    this.#window = o.window
    this.#out = Buffer.concat(o.messages.map(framed))
  }

  run(ms: number): void {
    this.#tick()
    while (this.clock.step(ms)) {}
  }

  /** Where something is lost, what is sent later may come earlier. */
  #latencyMs(): number {
    return this.#lossPct === 0 ? LATENCY_MS : LATENCY_MS + this.#random.below(3)
  }

  #tick(): void {
    if (this.reset || this.#finished) return
    if (!this.#connected) this.#send(Flag.Syn, this.#una, NONE)
    else this.#flush()
    this.clock.after(RESEND_MS, () => this.#tick())
  }

  #flush(): void {
    const done = (this.#una - 1001) >>> 0
    for (let at = done; at < this.#out.length; at += this.#mss) {
      const data = this.#out.subarray(at, Math.min(this.#out.length, at + this.#mss))
      this.#send(Flag.Ack | Flag.Psh, (1001 + at) >>> 0, data)
    }
    if (done <= this.#out.length) this.#send(Flag.Ack | Flag.Fin, 1001 + this.#out.length, NONE)
  }

  #send(flags: number, seq: number, data: Uint8Array): void {
    const copies = this.#random.chance(this.#lossPct) ? 0 : this.#random.chance(10) ? 2 : 1
    const segment: Segment = { flags, seq, ack: this.#next, window: this.#window, data }
    for (let i = 0; i < copies; i++) {
      this.clock.after(this.#latencyMs(), () => this.#deliver(segment))
    }
  }

  #deliver(segment: Segment): void {
    if (this.stream !== undefined) return this.stream.segment(segment)
    if ((segment.flags & Flag.Syn) === 0) return
    const stream: Stream = new Stream(
      {
        clock: this.clock,
        iss: ISS,
        mssBytes: 300,
        send: (own) => {
          if (this.#random.chance(this.#lossPct)) return
          const { data } = own
          const copy = { ...own, data: data.slice() }
          this.clock.after(this.#latencyMs(), () => this.#receive(copy))
        },
        heard: (message) => {
          const copy = Buffer.from(message)
          this.heard.push(copy)
          this.clock.after(10, () => stream.reply(Buffer.concat([copy, copy])))
        },
        closed: () => this.closed++,
      },
      segment,
    )
    this.stream = stream
  }

  #receive({ flags, seq, ack, data }: Segment): void {
    if ((flags & Flag.Rst) !== 0) {
      this.reset = true
      return
    }
    if ((flags & Flag.Syn) !== 0) {
      if (this.#connected) return this.#send(Flag.Ack, this.#una, NONE)
      this.#connected = true
      this.#una = 1001
      this.#next = (seq + 1) >>> 0
      return this.#flush()
    }
    if (((ack - this.#una) | 0) > 0) this.#una = ack
    const fin = (flags & Flag.Fin) !== 0
    if (seq === this.#next && !this.#finished) {
      this.#in = Buffer.concat([this.#in, data])
      this.#next = (this.#next + data.length + (fin ? 1 : 0)) >>> 0
      if (fin) {
        this.#finished = true
        this.finishedMs = this.clock.nowMs
      }
      this.#parse()
    }
    if (data.length > 0 || fin) this.#send(Flag.Ack, this.#una, NONE)
  }

  #parse(): void {
    while (this.#in.length >= 2 && this.#in.length >= this.#in.readUInt16BE(0) + 2) {
      const length = this.#in.readUInt16BE(0)
      this.replies.push(Buffer.from(this.#in.subarray(2, length + 2)))
      this.#in = this.#in.subarray(length + 2)
    }
  }
}

const message = fc
  .uint8Array({ minLength: 12, maxLength: 1500 })
  .map((octets) => Buffer.from(octets))
const scenario = fc.record({
  messages: fc.array(message, { minLength: 1, maxLength: 6 }),
  seed: fc.integer({ min: 1, max: 1_000_000 }),
  lossPct: fc.constantFrom(0, 5, 20),
  mss: fc.constantFrom(1, 90, 1460).filter((mss) => mss > 1),
  window: fc.constantFrom(0xffff, 700, 100),
})

describe('a stream', () => {
  it('gives every answer whole and in order, once, and ends', () => {
    fc.assert(
      fc.property(scenario, (o) => {
        const client = new Client(o)
        client.run(60_000)
        if (client.reset) return expect(o.lossPct).toBeGreaterThan(0)
        expect(client.heard).toEqual(o.messages)
        expect(client.replies).toEqual(o.messages.map((each) => Buffer.concat([each, each])))
        expect(client.closed).toBe(1)
        // Where nothing is lost nothing waits for a timeout.
        const quick = o.lossPct === 0 && o.window === 0xffff
        if (quick) expect(client.finishedMs).toBeLessThan(RESEND_MS)
        expect(client.clock.pending).toBe(0)
      }),
      { numRuns: 150, seed: 11 },
    )
  })

  it('answers one question after the other at once', () => {
    const clock = new VirtualClock()
    const sent: Segment[] = []
    const asked = framed(Buffer.alloc(20, 0x61))
    const first = { flags: Flag.Syn, seq: 7, ack: 0, window: 0xffff, data: NONE }
    const stream: Stream = new Stream(
      {
        clock,
        iss: 100,
        mssBytes: 1000,
        send: (segment) => sent.push(segment),
        heard: (message) => stream.reply(message),
        closed: () => {},
      },
      first,
    )
    for (let i = 0; i < 5; i++) {
      const [seq, ack] = [8 + i * asked.length, 101 + i * asked.length]
      sent.length = 0
      stream.segment({ flags: Flag.Ack, seq, ack, window: 0xffff, data: asked })
      expect(sent.find(({ data }) => data.length > 0)).toMatchObject({ seq: ack })
    }
    stream.abort()
  })

  it('gives up on who does not speak, and leaves no timer', () => {
    const clock = new VirtualClock()
    const sent: Segment[] = []
    let closed = 0
    const first = { flags: Flag.Syn, seq: 7, ack: 0, window: 100, data: NONE }
    const send = (segment: Segment) => sent.push(segment)
    const heard = () => {}
    const options = { clock, iss: 1, mssBytes: 100, send, heard, closed: () => closed++ }
    const stream = new Stream(options, first)
    while (clock.step(1_000_000)) {}
    expect(closed).toBe(1)
    expect(sent.at(-1)!.flags & Flag.Rst).toBe(Flag.Rst)
    stream.abort()
    stream.segment(first)
    stream.reply(Buffer.alloc(20))
    expect([closed, clock.pending]).toEqual([1, 0])
  })

  it('takes any segment without throwing', () => {
    const segment = fc.record({
      flags: fc.nat(63),
      seq: fc.oneof(fc.constantFrom(7, 8, 9, 30), fc.nat()),
      ack: fc.oneof(fc.constantFrom(1, 2, 3), fc.nat()),
      window: fc.nat(0xffff),
      data: fc.uint8Array({ maxLength: 40 }),
    })
    fc.assert(
      fc.property(fc.array(segment, { maxLength: 30 }), (segments) => {
        const clock = new VirtualClock()
        const first = { flags: Flag.Syn, seq: 7, ack: 0, window: 100, data: NONE }
        let closed = 0
        const stream: Stream = new Stream(
          {
            clock,
            iss: 1,
            mssBytes: 20,
            send: () => {},
            heard: (asked) => stream.reply(asked),
            closed: () => closed++,
          },
          first,
        )
        for (const each of segments) stream.segment(each)
        while (clock.step(1_000_000)) {}
        expect([closed, clock.pending]).toEqual([1, 0])
      }),
      { numRuns: 500 },
    )
  })
})
