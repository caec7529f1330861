/**
 * Gossip as a daemon runs it: sockets, a member of the cluster, its way in, and its keys.
 *
 * ```text
 *   node.gossip ──> Gossip ── NodeTransport, Serf, Joiner
 *                     └────── keys_file: read at the start and by apply, written when a query
 *                                        changes the keys
 * ```
 *
 * Members, user events and keys are for people (`tapline members`, `event`, `keys`) and for serf's
 * agents alike; what tapline nodes tell each other of endpoints is in gossip_source.ts.
 */
import { lookup } from 'node:dns/promises'
import { formatAddress, parseAddress } from '../../stack/address.ts'
import type { Cancel, SystemClock } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import type { Random } from '../../stack/random.ts'
import type { GossipConfig, HostPortConfig } from '../config/overlay_model.ts'
import { type Log, QUIET } from '../log.ts'
import type { MemberEvent, MemberState } from './cluster.ts'
import type { Destination } from './datagrams.ts'
import { Joiner } from './joiner.ts'
import { decodeKeyAnswer, encodeKeyRequest, KeyQuery } from './key_queries.ts'
import { Keyring, parseKey, readKeys, writeKeys } from './keyring.ts'
import type { GossipCounters } from './memberlist.ts'
import { type NodeTransport, openNodeTransport, type SocketCounters } from './node_transport.ts'
import { Serf } from './serf.ts'
import type { UserEvent } from './serf_messages.ts'
import type { Tags } from './tags.ts'

/** One member, as `tapline members` prints it. */
export interface MemberRow {
  readonly name: string
  readonly address: string
  readonly port: number
  readonly state: MemberState
  /** This node. */
  readonly self: boolean
  readonly tags: Tags
}

export interface GossipView {
  readonly encrypted: boolean
  readonly counters: GossipCounters & SocketCounters
  readonly members: readonly MemberRow[]
}

export type KeyOperation = 'list' | 'install' | 'use' | 'remove'

const KEY_QUERIES: { readonly [O in KeyOperation]: KeyQuery } = {
  list: KeyQuery.List,
  install: KeyQuery.Install,
  use: KeyQuery.Use,
  remove: KeyQuery.Remove,
}

/** What one member answered. */
export interface KeyRow {
  readonly member: string
  readonly ok: boolean
  /** What is wrong; `no answer` is among it. */
  readonly message: string
  readonly keys: readonly string[]
  readonly primary: string
}

export interface GossipOptions {
  readonly clock: SystemClock
  readonly random: Random
  readonly log: Log
  readonly name: string
  readonly tags: Tags
  readonly config: GossipConfig
}

const MESSAGES: { readonly [E in MemberEvent]: string } = {
  join: 'is there',
  update: 'changed',
  leave: 'left',
  fail: 'failed',
}

/**
 * What else is wrong with the file is told when it is taken.
 * @throws StackError: it cannot be read, or a line of it is no key.
 */
export function checkKeys(file: string): void {
  readKeys(file, QUIET)
}

export class Gossip {
  readonly serf: Serf
  readonly #transport: NodeTransport
  readonly #log: Log
  readonly #keysFile: string | undefined
  readonly #joiner: Joiner
  #list: readonly HostPortConfig[]
  readonly #cancel: Cancel

  /** @throws StackError `syscall`, `bad-config` */
  static async open(options: GossipOptions): Promise<Gossip> {
    const { clock, log, config } = options
    const { host, port } = config.bind
    const address = parseAddress(host)
    const { keysFile } = config
    const keyring = keysFile === undefined ? undefined : new Keyring(readKeys(keysFile, log))
    const transport = await openNodeTransport(address, port, () => clock.tick())
    try {
      return new Gossip(options, transport, keyring)
    } catch (error) {
      await transport.close()
      throw error
    }
  }

  private constructor(
    { clock, random, log, name, tags, config }: GossipOptions,
    transport: NodeTransport,
    keyring: Keyring | undefined,
  ) {
    const { advertise, keysFile, label } = config
    const given = advertise && { address: parseAddress(advertise.host), port: advertise.port }
    this.#transport = transport
    this.#log = log
    this.#keysFile = keysFile
    this.serf = new Serf({
      clock,
      random,
      log,
      transport,
      name,
      tags,
      label,
      ...(given && { advertise: given }),
      ...(keyring && { keyring }),
      onKeys: () => {
        log.info({}, 'the keys of gossip were changed')
        if (keysFile !== undefined && keyring !== undefined) writeKeys(keysFile, keyring)
      },
    })
    this.#cancel = this.serf.subscribe({
      onMember: (event, member) => {
        const facts = { member: member.name, address: formatAddress(member.address) }
        log.info(facts, `member ${member.name} ${MESSAGES[event]}`)
      },
      onMessage: () => {},
    })
    this.serf.onUserEvent((event) => logUserEvent(log, event))
    this.serf.start()
    const { serf } = this
    this.#list = config.join
    const list = (): Promise<Destination[]> => resolveAll(this.#list, log)
    this.#joiner = new Joiner({ clock, random, log, serf, list })
  }

  /** Join; goes on trying in the background. Resolves after the first attempt. */
  join(): Promise<void> {
    return this.#joiner.start()
  }

  /** Go on with this list: who is new in it is joined now, and nobody is left. */
  rejoin(list: readonly HostPortConfig[]): void {
    this.#list = list
    this.#joiner.retry()
  }

  /** True if the file has other keys than are in use. @throws StackError `bad-config`. */
  hasOtherKeys(): boolean {
    const { keyring } = this.serf
    if (this.#keysFile === undefined || keyring === undefined) return false
    return !keyring.equals(readKeys(this.#keysFile, QUIET))
  }

  /**
   * Have the keys of the file, as it is now: the first encrypts, all of them decrypt, and a key
   * that is not in it any more does neither.
   *
   * @throws StackError `bad-config`; the keys stay as they are.
   */
  reloadKeys(): void {
    const { keyring } = this.serf
    if (this.#keysFile === undefined || keyring === undefined) return
    const keys = readKeys(this.#keysFile, this.#log)
    if (!keyring.replace(keys)) return
    this.#log.info({ file: this.#keysFile, keys: keys.length }, 'gossip has other keys')
  }

  view(): GossipView {
    const { serf } = this
    const { name: own } = serf.self
    const members = serf.members().map(({ name, address, port, state, tags }) => {
      return { name, address: formatAddress(address), port, state, self: name === own, tags }
    })
    return {
      encrypted: serf.keyring !== undefined,
      counters: { ...serf.counters, ...this.#transport.counters },
      members: members.sort((a, b) => (a.name < b.name ? -1 : 1)),
    }
  }

  /** Ask every member to do it; a row for each that is there. @throws StackError */
  async keys(operation: KeyOperation, text?: string): Promise<KeyRow[]> {
    const { serf } = this
    if (serf.keyring === undefined) {
      throw new StackError('unsupported', 'gossip is not encrypted: node.gossip has no keys_file')
    }
    const key = operation === 'list' ? undefined : parseKey(text ?? '')
    const payload = encodeKeyRequest(key)
    const there = serf.members().filter(({ state }) => state === 'alive' || state === 'suspect')
    const answers = await serf.query({ name: KEY_QUERIES[operation], payload })
    return there.map(({ name: member }) => {
      const answer = answers.get(member)
      const decoded = answer && decodeKeyAnswer(answer)
      if (decoded !== undefined) return { member, ...decoded }
      return { member, ok: false, message: 'no answer', keys: [], primary: '' }
    })
  }

  /** Say good-bye, then stop. */
  async close(): Promise<void> {
    this.#joiner.close()
    this.#cancel()
    await this.serf.leave()
    this.serf.close()
    await this.#transport.close()
  }
}

function logUserEvent(log: Log, { name, payload }: UserEvent): void {
  log.info({ event: name, payload: Buffer.from(payload).toString() }, `user event ${name}`)
}

/** Names are looked up again for each attempt. Those that cannot be are left out. */
async function resolveAll(join: readonly HostPortConfig[], log: Log): Promise<Destination[]> {
  const found = await Promise.all(
    join.map(async ({ host, port }): Promise<Destination[]> => {
      try {
        return [{ address: parseAddress(host), port }]
      } catch {
        // A name.
      }
      try {
        const all = await lookup(host, { all: true })
        return all.map(({ address }) => ({ address: parseAddress(address), port }))
      } catch (error) {
        log.warn({ host }, `could not look up ${host}: ${(error as Error).message}`)
        return []
      }
    }),
  )
  return found.flat()
}
