/**
 * Members under fire: octets at random, damaged messages, well-formed lies by somebody without a
 * key. What cannot be understood is counted; with keys, nothing of it has an effect.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { MEMBERS_MAX } from '../../../services/gossip/defaults.ts'
import {
  compound,
  type Sealing,
  sealDatagram,
  sealStream,
} from '../../../services/gossip/envelope.ts'
import {
  type Alive,
  encodeMessage,
  encodePushPull,
  type Message,
  WireState,
} from '../../../services/gossip/messages.ts'
import { encodeSerf, encodeState } from '../../../services/gossip/serf_messages.ts'
import { encodeTags } from '../../../services/gossip/tags.ts'
import type { GossipStream } from '../../../services/gossip/transport.ts'
import { GossipLab, type Host, hostAddress, PORT } from './lab.ts'

const PLAIN: Sealing = { keyring: undefined, label: new Uint8Array(0) }
const KEYS = [Uint8Array.from({ length: 32 }, (_, i) => i)]
const NAMES = ['n1', 'n2', 'n3', 'n4', 'ghost', '']

const labs: GossipLab[] = []
afterEach(() => {
  for (const lab of labs.splice(0)) lab.close()
})

async function cluster(keys?: readonly Uint8Array[]): Promise<GossipLab> {
  const lab = new GossipLab(1)
  labs.push(lab)
  for (let i = 1; i <= 4; i++) lab.add(`n${i}`, keys && { keys })
  await lab.until(() => lab.agree(), 30_000)
  await lab.run(5000)
  return lab
}

/** Somebody who says what messages may say, of whom they may say it. */
class Liar {
  readonly #lab: GossipLab

  constructor(lab: GossipLab) {
    this.#lab = lab
  }

  #below(limit: number): number {
    return this.#lab.random.below(limit)
  }

  #name(): string {
    return NAMES[this.#below(NAMES.length)]!
  }

  alive(): Alive {
    return {
      type: 'alive',
      incarnation: this.#below(2) * 0xffff_ffff || this.#below(50),
      node: this.#name(),
      address: hostAddress(this.#below(300)),
      port: this.#below(65_536),
      meta: encodeTags({ tapline: '1' }),
      versions: Uint8Array.of(1, 5, this.#below(7), 2, 5, 5),
    }
  }

  message(): Message {
    const incarnation = this.#below(50)
    const [node, from] = [this.#name(), this.#name()]
    const source = { sourceAddress: hostAddress(9), sourcePort: PORT, sourceNode: from }
    const target = hostAddress(this.#below(9))
    const payload = this.#serf()
    const all: Message[] = [
      this.alive(),
      { type: 'suspect', incarnation, node, from },
      { type: 'dead', incarnation, node, from },
      { type: 'ping', seq: this.#below(9), node, ...source },
      { type: 'indirect-ping', seq: 1, target, port: PORT, nack: true, node, ...source },
      { type: 'ack', seq: this.#below(9), payload: new Uint8Array(0) },
      { type: 'nack', seq: this.#below(9) },
      { type: 'user', payload },
    ]
    return all[this.#below(all.length)]!
  }

  #serf(): Uint8Array {
    const time = this.#below(2) * 2 ** 52 || this.#below(1000)
    const node = this.#name()
    const [id, address, flags] = [this.#below(9), hostAddress(this.#below(9)), this.#below(4)]
    const query = { time, id, address, port: PORT, sourceNode: node, flags, timeoutMs: 1000 }
    const payload = Uint8Array.of(7, 0x81)
    const all = [
      encodeSerf({ type: 'leave', time, node, prune: true }),
      encodeSerf({ type: 'join', time, node, prune: false }),
      encodeSerf({ type: 'user-event', time, name: 'lie', payload, coalesce: true }),
      encodeSerf({ type: 'query', name: '_serf_use-key', filters: [], payload, ...query }),
      encodeSerf({ type: 'query', name: '_serf_conflict', filters: [payload], payload, ...query }),
      encodeSerf({ type: 'query-response', time, id, from: node, flags, payload }),
    ]
    return all[this.#below(all.length)]!
  }

  stream(): Uint8Array {
    const { type: _, ...alive } = this.alive()
    const times = new Map([[this.#name(), this.#below(100)]])
    const clocks = { time: 5, eventTime: this.#below(2 ** 30), queryTime: 5 }
    const state = encodeState({ ...clocks, statusTimes: times, left: [this.#name()], events: [] })
    return encodePushPull(true, [{ ...alive, state: WireState.Alive }], state)
  }

  /** Change some octets. */
  damage(mem: Uint8Array): Uint8Array {
    const copy = mem.slice(0, this.#below(8) === 0 ? this.#below(mem.length) : undefined)
    for (let n = this.#below(5); n > 0 && copy.length > 0; n--) {
      copy[this.#below(copy.length)] = this.#below(256)
    }
    return copy
  }
}

async function fire(lab: GossipLab, rounds: number): Promise<void> {
  const liar = new Liar(lab)
  const from = lab.network.open(hostAddress(250), PORT)
  from.start({ onDatagram: () => {}, onStream: () => ({ onData: () => {}, onClose: () => {} }) })
  const streams: GossipStream[] = []
  for (let i = 0; i < rounds; i++) {
    const to = hostAddress(1 + lab.random.below(4))
    const messages = Array.from({ length: 1 + lab.random.below(4) }, () => {
      return encodeMessage(liar.message())
    })
    const datagram = sealDatagram(compound(messages), PLAIN, lab.random.chance(50))
    from.sendDatagram(to, PORT, lab.random.chance(50) ? datagram : liar.damage(datagram))
    if (i % 10 === 0) {
      const stream = from.dial(to, PORT, { onData: () => {}, onClose: () => {} })
      stream.write(liar.damage(sealStream(liar.stream(), PLAIN)))
      streams.push(stream)
    }
    if (i % 20 === 0) await lab.run(10)
  }
  await lab.run(2000)
  for (const stream of streams) stream.destroy()
  await from.close()
}

const events = (hosts: readonly Host[]): unknown => hosts.map(({ told, events: e }) => [told, e])

describe('members under fire', () => {
  it('with keys do not notice, but count', async () => {
    const lab = await cluster(KEYS)
    const before = JSON.stringify(events(lab.hosts))
    await fire(lab, 3000)
    await lab.run(60_000)
    expect(JSON.stringify(events(lab.hosts))).toBe(before)
    expect(lab.agree()).toBe(true)
    for (const { serf } of lab.hosts) {
      expect(serf.counters.refused).toBeGreaterThan(500)
      expect(serf.counters.streamsRefused).toBeGreaterThan(50)
      expect(serf.counters.suspicions + serf.counters.refutations).toBe(0)
    }
  })

  it('without keys believe what they are told, and neither fail nor stay confused', async () => {
    const lab = await cluster()
    await fire(lab, 3000)
    expect(lab.hosts.some(({ serf }) => serf.counters.refutations > 0)).toBe(true)
    const seesAll = (): boolean =>
      lab.hosts.every(({ serf }) => {
        const there = serf.members().filter(({ state }) => state === 'alive')
        const names = there.map(({ name }) => name)
        return ['n1', 'n2', 'n3', 'n4'].every((name) => names.includes(name))
      })
    await lab.until(seesAll, 300_000)
    expect(seesAll()).toBe(true)
  })

  it('refuse members that they have no room for', async () => {
    const lab = await cluster()
    const from = lab.network.open(hostAddress(250), PORT)
    const alive = new Liar(lab).alive()
    for (let i = 0; i < MEMBERS_MAX + 100; i++) {
      const message = encodeMessage({
        ...alive,
        versions: new Uint8Array(0),
        incarnation: 1,
        node: `x${i}`,
      })
      from.sendDatagram(hostAddress(1), PORT, sealDatagram(message, PLAIN, false))
    }
    await lab.run(5)
    const [host] = lab.hosts
    expect(host!.serf.members()).toHaveLength(MEMBERS_MAX)
    expect(host!.serf.counters.tableFull).toBe(104)
  })
})
