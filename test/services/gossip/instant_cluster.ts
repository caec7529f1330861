/**
 * A cluster whose members know at once who is there, in memory and on a virtual clock: to try
 * tables by themselves. Messages take {@link DELAY_MS} and may be lost; parts of it may be cut off
 * from each other, and notice that after {@link NOTICE_MS}, as SWIM would.
 */

import type {
  Cluster,
  ClusterListener,
  Member,
  MemberEvent,
  MemberState,
} from '../../../services/gossip/cluster.ts'
import { parseAddress } from '../../../stack/address.ts'
import type { VirtualClock } from '../../../stack/clock.ts'
import { StackError } from '../../../stack/errors.ts'
import type { Random } from '../../../stack/random.ts'

const DELAY_MS = 2
export const NOTICE_MS = 5000
const MESSAGE_BYTES_MAX = 1300

export class InstantNet {
  readonly clock: VirtualClock
  readonly random: Random
  lossPct = 0
  datagrams = 0
  bytes = 0
  /** False: they cannot reach each other. */
  connected: (a: string, b: string) => boolean = () => true
  readonly #clusters = new Map<string, InstantCluster>()

  constructor(clock: VirtualClock, random: Random) {
    this.clock = clock
    this.random = random
  }

  /** A new member, or a new life of one; the others hear of it. */
  add(name: string, address: string): InstantCluster {
    const cluster = new InstantCluster(this, { name, address })
    this.#clusters.set(name, cluster)
    for (const other of this.#clusters.values()) {
      if (other === cluster || !this.connected(name, other.self.name)) continue
      other.note('join', cluster.self)
      cluster.note('join', other.self)
    }
    return cluster
  }

  remove(name: string, how: 'leave' | 'fail'): void {
    const gone = this.#clusters.get(name)!
    gone.isUp = false
    this.#clusters.delete(name)
    this.clock.after(how === 'leave' ? DELAY_MS : NOTICE_MS, () => {
      if (this.#clusters.has(name)) return
      for (const other of this.#clusters.values()) other.note(how, gone.self)
    })
  }

  /** After `connected` has changed: who cannot be reached is noticed to fail, or to be back. */
  notice(): void {
    this.clock.after(NOTICE_MS, () => {
      for (const a of this.#clusters.values()) {
        for (const b of this.#clusters.values()) {
          if (a !== b) a.judge(b.self, this.connected(a.self.name, b.self.name))
        }
      }
    })
  }

  carry(from: InstantCluster, to: Member, bytes: Uint8Array, reliable: boolean): boolean {
    this.bytes += bytes.length
    this.datagrams++
    const reached = this.#clusters.has(to.name) && this.connected(from.self.name, to.name)
    if (!from.isUp || !reached) return false
    if (!reliable && this.random.chance(this.lossPct)) return false
    this.clock.after(DELAY_MS, () => this.#clusters.get(to.name)?.hear(bytes))
    return true
  }
}

export class InstantCluster implements Cluster {
  readonly self: Member
  readonly messageBytesMax: number = MESSAGE_BYTES_MAX
  isUp = true
  readonly #net: InstantNet
  readonly #members = new Map<string, Member>()
  readonly #listeners = new Set<ClusterListener>()

  constructor(net: InstantNet, { name, address }: { name: string; address: string }) {
    this.#net = net
    const tags = { tapline: '1' }
    this.self = { name, address: parseAddress(address), port: 7946, tags, state: 'alive' }
    this.#members.set(name, this.self)
  }

  members(): readonly Member[] {
    return [...this.#members.values()]
  }

  member(name: string): Member | undefined {
    return this.#members.get(name)
  }

  subscribe(listener: ClusterListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  send(member: Member, message: Uint8Array): void {
    if (message.length > MESSAGE_BYTES_MAX) throw new Error(`${message.length} octets`)
    this.#net.carry(this, member, message, false)
  }

  async sendReliable(member: Member, message: Uint8Array): Promise<void> {
    if (!this.#net.carry(this, member, message, true)) {
      throw new StackError('syscall', 'not reached')
    }
  }

  note(event: MemberEvent, member: Member): void {
    const states: Record<MemberEvent, MemberState> = {
      join: 'alive',
      update: 'alive',
      leave: 'left',
      fail: 'dead',
    }
    const known: Member = { ...member, state: states[event] }
    this.#members.set(member.name, known)
    for (const listener of this.#listeners) listener.onMember(event, known)
  }

  judge(member: Member, reached: boolean): void {
    const alive = this.#members.get(member.name)?.state === 'alive'
    if (alive !== reached) this.note(reached ? 'join' : 'fail', member)
  }

  hear(message: Uint8Array): void {
    if (!this.isUp) return
    for (const listener of this.#listeners) listener.onMessage(message)
  }
}
