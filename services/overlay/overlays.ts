/**
 * The overlay side of a node: its tunnel end, and the sources that know of other nodes. Networks of
 * driver `overlay` register here; each hears of its VNIs from every source.
 *
 * ```text
 *   file ──> static source ──┐
 *   other nodes ──> gossip ──┴─> overlay networks ──> tunnels ──> vtep ──> underlay
 * ```
 */
import { resolve } from 'node:path'
import { formatAddress } from '../../stack/address.ts'
import type { Clock } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import type { FlowCache } from '../../stack/ip/flow_cache.ts'
import type { Router } from '../../stack/ip/router.ts'
import type { Pool } from '../../stack/packet.ts'
import type { Random } from '../../stack/random.ts'
import { segmentsOf } from '../../stack/udp/sender.ts'
import { SealedUnderlay } from '../../stack/vxlan/sealed_underlay.ts'
import { Vtep } from '../../stack/vxlan/vtep.ts'
import type { Links } from '../links.ts'
import type { Log } from '../log.ts'
import type { NodeState } from '../state.ts'
import { type Key, readKeys } from './keyring.ts'
import type { OverlayNetwork } from './overlay_network.ts'
import type { EndpointRecord, PeerSource } from './peer_source.ts'
import { Reconciler } from './reconcile.ts'
import { NodeSealKeys } from './seal_keys.ts'
import { StaticSource } from './static_source.ts'

/** Hears what endpoints of other nodes are called, while they are in force. */
export interface NameListener {
  setRemote(network: string, record: EndpointRecord): void
  removeRemote(network: string, mac: Mac): void
}

export interface OverlaysOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly links: Links
  readonly log: Log
  readonly router: Router
  /** Undefined: nothing is cached. */
  readonly flows: FlowCache | undefined
}

/** The node's part of the underlay. */
interface Opened {
  readonly node: NodeState
  readonly vtep: Vtep
  /** Undefined: there are no keys. */
  readonly sealing: { readonly underlay: SealedUnderlay; readonly keys: NodeSealKeys } | undefined
}

export class Overlays {
  readonly fixed: StaticSource = new StaticSource()
  /** Set once, when the node is built. */
  names: NameListener | undefined = undefined
  /** What knows of other nodes; the file is the first. */
  #sources: readonly PeerSource[] = [this.fixed]
  readonly #options: OverlaysOptions
  readonly #networks = new Set<OverlayNetwork>()
  readonly #reconciler: Reconciler
  #opened: Opened | undefined = undefined
  /** Names of other files are relative to it. */
  folder = '.'

  constructor(options: OverlaysOptions) {
    this.#options = options
    this.#reconciler = new Reconciler({ ...options, networks: () => this.networks() })
  }

  /** Undefined: this host is the only one. */
  get node(): NodeState | undefined {
    return this.#opened?.node
  }

  /**
   * Segments of a super-frame that leaves as one message. @throws StackError `not-found`.
   */
  get segmentsMax(): number {
    const { underlay } = this.vtep
    return segmentsOf(this.#opened!.node.mtuBytes, underlay.address)
  }

  /** @throws StackError `not-found`. */
  get vtep(): Vtep {
    if (this.#opened !== undefined) return this.#opened.vtep
    throw new StackError('not-found', 'there is no underlay: the file has no "node"')
  }

  get sources(): readonly PeerSource[] {
    return this.#sources
  }

  /** Have the node's tunnels end there. @throws StackError `unsupported`, `syscall`. */
  open(node: NodeState): void {
    const { pool, clock, random, links, log } = this.#options
    if (links.openUnderlay === undefined) {
      const message = `links of kind ${links.describe} have no underlay for overlay networks`
      throw new StackError('unsupported', message)
    }
    const { address, udpPort, interfaceName, mtuBytes, hopLimit, keysFile } = node
    const list = keysFile === undefined ? undefined : this.#readKeys(keysFile)
    const place = { address, udpPort, interfaceName, mtuBytes, hopLimit }
    const underlay = links.openUnderlay({ ...place, log })
    underlay.onPathMtu = (peer, bytes) => this.#onPathMtu(peer, bytes)
    const hello = { clock, random }
    if (list === undefined) {
      const vtep = new Vtep({ pool, underlay, hello })
      this.#opened = { node, vtep, sealing: undefined }
      return
    }
    const { makeCipher } = links
    const keys = new NodeSealKeys(address, { keys: list, wallMs: Date.now, makeCipher })
    const sealed = new SealedUnderlay({ pool, clock, under: underlay, keys })
    const vtep = new Vtep({ pool, underlay: sealed, hello })
    this.#opened = { node, vtep, sealing: { underlay: sealed, keys } }
  }

  /** Nothing of this VNI is to be in the clear. @throws StackError without keys. */
  encrypt(vni: number): void {
    const sealing = this.#opened?.sealing
    if (sealing === undefined)
      throw new StackError('not-found', 'there are no keys to encrypt with')
    sealing.underlay.encrypt(vni)
  }

  /** The VNI is no more. Idempotent. */
  decrypt(vni: number): void {
    this.#opened?.sealing?.underlay.decrypt(vni)
  }

  /** Take the keys as their file has them now. @throws StackError; the old ones stay. */
  reloadKeys(): void {
    const { node, sealing } = this.#opened ?? {}
    if (node?.keysFile === undefined || sealing === undefined) return
    const { keys, underlay } = sealing
    const before = keys.keys
    keys.keys = this.#readKeys(node.keysFile)
    if (before[0]!.id !== keys.keys[0]!.id) underlay.rekey()
    for (const { id } of before) {
      if (!keys.keys.some((key) => key.id === id)) underlay.forgetKey(id)
    }
  }

  #readKeys(written: string): Key[] {
    return readKeys(resolve(this.folder, written), this.#options.log)
  }

  /** Precondition: no overlay network is left. Idempotent. */
  closeUnderlay(): void {
    const opened = this.#opened
    this.#opened = undefined
    opened?.vtep.close()
    opened?.vtep.underlay.close()
  }

  /** One more that knows of other nodes: networks hear all that it knows. */
  addSource(source: PeerSource): void {
    this.#sources = [...this.#sources, source]
    for (const network of this.#networks) network.listen(source)
  }

  /** No more; what it told is forgotten. The source is the caller's to close. */
  removeSource(source: PeerSource): void {
    this.#sources = this.#sources.filter((other) => other !== source)
    for (const network of this.#networks) network.ignore(source)
  }

  /** A network takes part from now on. */
  add(network: OverlayNetwork): void {
    this.#networks.add(network)
    for (const source of this.#sources) network.listen(source)
    this.#reconciler.start()
  }

  remove(network: OverlayNetwork): void {
    if (!this.#networks.delete(network)) return
    for (const source of this.#sources) network.ignore(source)
    if (this.#networks.size === 0) this.#reconciler.stop()
  }

  /** What was found wrong in tables and mended since the start. */
  get repaired(): number {
    return this.#reconciler.repaired
  }

  networks(): OverlayNetwork[] {
    return [...this.#networks]
  }

  /** Endpoints of other nodes in the network, as told by other sources than the file. */
  elsewhere(vni: number): EndpointRecord[] {
    return this.#sources
      .filter((source) => source !== this.fixed)
      .flatMap((source) => source.records(vni))
  }

  /** Idempotent. */
  close(): void {
    this.closeUnderlay()
  }

  /** Told once a peer and size: an underlay that is too small is no silent loss. */
  #onPathMtu(peer: number, mtuBytes: number): void {
    const { log } = this.#options
    const { node, vtep } = this.#opened!
    if (mtuBytes >= node.mtuBytes) return
    const { underlay } = vtep
    const address = underlay.peer(peer)?.address
    const facts = { vtep: address && formatAddress(address), mtuBytes, said: node.mtuBytes }
    const believed = underlay.hostPathBytes(peer)
    if (mtuBytes < believed) {
      const message = 'the path to a node drops larger packets without telling the host'
      return log.warn({ ...facts, believed }, message)
    }
    log.warn(facts, 'the path to a node carries less than node.underlay.mtu says')
  }
}
