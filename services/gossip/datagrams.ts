/**
 * Datagrams of gossip: messages out, with broadcasts in what room is left beside them; and in,
 * opened and handed to whoever handles their kind.
 *
 * What cannot be opened or understood is counted and forgotten: it may come from anybody.
 */
import type { Address } from '../../stack/address.ts'
import { DATAGRAM_BYTES_MAX, retransmitLimit } from './defaults.ts'
import {
  COMPOUND_HEADER_BYTES,
  COMPOUND_PART_BYTES,
  COMPOUND_PARTS_MAX,
  CRC_BYTES,
  compound,
  ENCRYPTION_BYTES,
  LABEL_HEADER_BYTES,
  openDatagram,
  type Sealing,
  sealDatagram,
} from './envelope.ts'
import { decodeMessage, encodeMessage, type Message } from './messages.ts'
import { speaks } from './node_table.ts'
import type { Swim } from './swim.ts'
import type { Transport } from './transport.ts'

/** From this version of the protocol on, receivers know checksums. */
const CRC_PROTOCOL = 5

export interface DatagramCounters {
  datagramsIn: number
  datagramsOut: number
  /** Damaged, malformed, of another label, or not encrypted with one of our keys. */
  refused: number
}

export interface Destination {
  readonly address: Address
  readonly port: number
}

/** Broadcasts of the layer above, whole user messages' payloads: see {@link BroadcastQueue}. */
export type UserBroadcasts = (overhead: number, bytes: number) => Uint8Array[]

export interface DatagramOptions {
  readonly transport: Transport
  readonly sealing: Sealing
  readonly swim: Swim
  readonly userBroadcasts: UserBroadcasts
  readonly onMessage: (message: Message, address: Address, port: number) => void
  /** It is damaged, or of another label or key. */
  readonly onUnopened: (from: Address) => void
}

export class Datagrams {
  readonly counters: DatagramCounters = { datagramsIn: 0, datagramsOut: 0, refused: 0 }
  readonly #options: DatagramOptions

  constructor(options: DatagramOptions) {
    this.#options = options
  }

  /** Room for messages, with everything that may be around them. */
  get bytesMax(): number {
    const { label, keyring } = this.#options.sealing
    const labelBytes = label.length === 0 ? 0 : LABEL_HEADER_BYTES + label.length
    const sealBytes = keyring === undefined ? 0 : ENCRYPTION_BYTES
    return DATAGRAM_BYTES_MAX - labelBytes - sealBytes - CRC_BYTES
  }

  /** Send it, and broadcasts with it. `name`: whose address it is, where that is known. */
  send(to: Destination, message: Message, name?: string): void {
    const encoded = encodeMessage(message)
    const left = this.bytesMax - encoded.length - COMPOUND_HEADER_BYTES - COMPOUND_PART_BYTES
    this.#transmit(to, [encoded, ...this.#broadcasts(left)], name)
  }

  /** Send these together, and nothing else. */
  sendOnly(to: Destination, messages: readonly Message[], name?: string): void {
    this.#transmit(to, messages.map(encodeMessage), name)
  }

  /** Send broadcasts, if there are any. False: there are none. */
  gossip(to: Destination, name: string): boolean {
    const messages = this.#broadcasts(this.bytesMax - COMPOUND_HEADER_BYTES)
    if (messages.length > 0) this.#transmit(to, messages, name)
    return messages.length > 0
  }

  receive(mem: Uint8Array, address: Address, port: number): void {
    this.counters.datagramsIn++
    const messages = openDatagram(mem, this.#options.sealing)
    if (messages === undefined) {
      this.counters.refused++
      return this.#options.onUnopened(address)
    }
    for (const bytes of messages) {
      const message = decodeMessage(bytes)
      if (message === undefined) this.counters.refused++
      else this.#options.onMessage(message, address, port)
    }
  }

  #broadcasts(bytes: number): Uint8Array[] {
    const { swim, userBroadcasts } = this.#options
    const limit = retransmitLimit(swim.table.size)
    const messages = swim.queue.take(COMPOUND_PART_BYTES, bytes, limit)
    let left = bytes
    for (const { length } of messages) left -= length + COMPOUND_PART_BYTES
    for (const payload of userBroadcasts(COMPOUND_PART_BYTES + 1, left)) {
      messages.push(encodeMessage({ type: 'user', payload }))
    }
    return messages
  }

  #transmit(to: Destination, messages: readonly Uint8Array[], name: string | undefined): void {
    const { transport, sealing, swim } = this.#options
    const node = name === undefined ? undefined : swim.table.get(name)
    const crc = node !== undefined && speaks(node, CRC_PROTOCOL)
    for (let at = 0; at < messages.length; at += COMPOUND_PARTS_MAX) {
      const part = messages.slice(at, at + COMPOUND_PARTS_MAX)
      const whole = part.length === 1 ? part[0]! : compound(part)
      this.counters.datagramsOut++
      transport.sendDatagram(to.address, to.port, sealDatagram(whole, sealing, crc))
    }
  }
}
