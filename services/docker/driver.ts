/**
 * The network driver: what Docker's calls do to the node.
 *
 * ```text
 *   CreateNetwork ── CreateEndpoint ── Join ── ProgramExternalConnectivity      each call:
 *   DeleteNetwork ── DeleteEndpoint ── Leave ── RevokeExternalConnectivity      record -> record
 *                                                                               -> node -> file
 * ```
 *
 * A call makes another record of what there is; the node is brought to it, and it is saved, before
 * the call is answered. If either fails, the record before is put in force again, so that a call
 * has done all of its work or none. Calls are done one after the other.
 *
 * What takes away is harmless where there is nothing: Docker asks again after a failure or a
 * restart, and must come to an end.
 */
import { isDeepStrictEqual } from 'node:util'
import { StackError } from '../../stack/errors.ts'
import type { ApplyReport, Controller } from '../controller.ts'
import type { Links } from '../links.ts'
import type { Log } from '../log.ts'
import { formatPort } from '../ports.ts'
import { endpointKey } from '../state.ts'
import { type Desired, linkName, shortId } from './desired.ts'
import * as ipam from './ipam.ts'
import type * as messages from './messages.ts'
import { PORT_MAP, portMap } from './messages.ts'
import { addedPort, publishedPorts, withoutPort } from './ports.ts'
import {
  type DockerRecord,
  type EndpointRecord,
  joined,
  left,
  type NetworkRecord,
  NOTHING,
  withEndpoint,
  withEntry,
} from './record.ts'
import type { RecordFile } from './record_file.ts'
import { endpointRecord, gatewayFor, networkRecord } from './translate.ts'

/** Calls that may wait for the one that runs. */
const WAITING_MAX = 4096
const NOTHING_DONE: ApplyReport = { steps: [], unchanged: 0, durationMs: 0 }

export interface DriverOptions {
  readonly controller: Controller
  readonly desired: Desired
  readonly links: Links
  readonly file: RecordFile
  readonly log: Log
  /** Called before each change: the clock may have stood still. */
  readonly refresh: () => void
}

export class DockerDriver {
  readonly #options: DriverOptions
  #record: DockerRecord = NOTHING
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(options: DriverOptions) {
    this.#options = options
  }

  get record(): DockerRecord {
    return this.#record
  }

  /**
   * Take up what the file has. An endpoint whose interface is gone, or cannot be had, is no longer
   * joined: its container has ended, or Docker will end it.
   *
   * @throws StackError if the file is not ours, or the node cannot have the networks.
   */
  restore(): Promise<void> {
    return this.#queue(async () => {
      const { file, log, links } = this.#options
      const saved = file.load()
      const apart = [...saved.endpoints.values()].map(left)
      let record: DockerRecord = { ...saved, endpoints: new Map(apart.map((one) => [one.id, one])) }
      await this.#apply(record)
      for (const endpoint of saved.endpoints.values()) {
        const { id, sandboxKey } = endpoint
        if (sandboxKey === undefined) continue
        const facts = { endpoint: shortId(id), network: shortId(endpoint.network) }
        if (links.handedOver?.isThere(linkName(id), sandboxKey) !== true) {
          log.warn(facts, 'an endpoint is taken as left: its interface is gone')
          continue
        }
        const next = { ...record, endpoints: withEntry(record.endpoints, id, endpoint) }
        try {
          await this.#apply(next)
          record = next
        } catch (error) {
          log.error({ ...facts, err: error }, 'an endpoint could not be taken up again')
        }
      }
      await file.save(record)
      await file.flushed()
      this.#record = record
    })
  }

  /** Wait for the calls that were made. */
  async idle(): Promise<void> {
    await this.#last
    await this.#options.file.flushed().catch(() => undefined)
  }

  /** After the calls that were made. What is there stays as it is. */
  async close(): Promise<void> {
    await this.idle()
    await this.#options.file.close()
  }

  createNetwork(request: messages.CreateNetwork): Promise<object> {
    return this.#change((record) => {
      const { NetworkID: id } = request
      const known = record.networks.get(id)
      const network = networkRecord(request)
      if (known !== undefined) throw new StackError('exists', `network ${id} is there already`)
      const short = [...record.networks.keys()].find((one) => shortId(one) === shortId(id))
      if (short !== undefined) throw new StackError('exists', `network ${short} begins alike`)
      const networks = withEntry(record.networks, id, network)
      return { record: { ...record, networks }, answer: {} }
    })
  }

  deleteNetwork({ NetworkID: id }: messages.OfNetwork): Promise<object> {
    return this.#change((record) => {
      const endpoints = [...record.endpoints].filter(([, one]) => one.network !== id)
      return {
        record: {
          ...record,
          networks: withEntry(record.networks, id, undefined),
          endpoints: new Map(endpoints),
        },
        answer: {},
      }
    })
  }

  createEndpoint(request: messages.CreateEndpoint): Promise<object> {
    const { NetworkID, EndpointID: id } = request
    return this.#change((record) => {
      network(record, NetworkID)
      if (record.endpoints.has(id)) {
        throw new StackError('exists', `endpoint ${id} is there already`)
      }
      const endpoint = endpointRecord(request)
      this.#options.desired.checkEndpoint(endpoint, record)
      const chosen = request.Interface.MacAddress === '' ? { MacAddress: endpoint.mac } : {}
      const answer = { Interface: chosen }
      return { record: withEndpoint(record, endpoint), answer }
    })
  }

  deleteEndpoint({ EndpointID: id }: messages.OfEndpoint): Promise<object> {
    return this.#change((record) => ({
      record: { ...record, endpoints: withEntry(record.endpoints, id, undefined) },
      answer: {},
    }))
  }

  async endpointOperInfo({ EndpointID: id }: messages.OfEndpoint): Promise<object> {
    const { mac, ports } = endpoint(this.#record, id)
    const published = ports.length === 0 ? {} : { 'tapline.ports': ports.join(' ') }
    const sandbox = { 'tapline.sandbox': shortId(id) }
    return { Value: { 'com.docker.network.endpoint.macaddress': mac, ...sandbox, ...published } }
  }

  join({ NetworkID, EndpointID, SandboxKey }: messages.Join): Promise<messages.JoinAnswer> {
    return this.#change((record) => {
      const { internal, subnets, prefix } = network(record, NetworkID)
      const joined = { ...endpoint(record, EndpointID), sandboxKey: SandboxKey }
      const gateway = (family: 4 | 6, address: string | undefined): string =>
        internal || address === undefined ? '' : gatewayFor(subnets, family)
      return {
        record: withEndpoint(record, joined),
        answer: {
          InterfaceName: { SrcName: linkName(EndpointID), DstPrefix: prefix },
          Gateway: gateway(4, joined.address4),
          GatewayIPv6: gateway(6, joined.address6),
          DisableGatewayService: internal,
        },
      }
    })
  }

  leave({ EndpointID: id }: messages.OfEndpoint): Promise<object> {
    return this.#change((record) => {
      const known = record.endpoints.get(id)
      if (known === undefined) return { record, answer: {} }
      return { record: withEndpoint(record, left(known)), answer: {} }
    })
  }

  programExternalConnectivity(request: messages.OfEndpoint): Promise<object> {
    const bindings = portMap.parse(request.Options[PORT_MAP])
    return this.#change((record) => {
      const { EndpointID: id } = request
      const known = endpoint(record, id)
      const ports = publishedPorts(bindings, record, id)
      return { record: withPorts(record, known, ports), answer: {} }
    })
  }

  revokeExternalConnectivity({ EndpointID: id }: messages.OfEndpoint): Promise<object> {
    return this.#change((record) => {
      const known = record.endpoints.get(id)
      return { record: known === undefined ? record : withPorts(record, known, []), answer: {} }
    })
  }

  /** Publish a port of a running container, until it leaves. @throws StackError. */
  async addPort(written: string, sandbox: string): Promise<ApplyReport> {
    const { report } = await this.#changeAndTell((record) => {
      const known = [...record.endpoints.values()].find(({ id }) => shortId(id) === sandbox)
      if (known?.sandboxKey === undefined) {
        throw new StackError('not-found', `no sandbox "${sandbox}"`)
      }
      const ports = [...known.ports, formatPort(addedPort(written, record))]
      return { record: withPorts(record, known, ports), answer: {} }
    })
    return report ?? NOTHING_DONE
  }

  /** Take a published port away. @throws StackError. */
  async removePort(written: string): Promise<ApplyReport> {
    const { report } = await this.#changeAndTell((record) => ({
      record: withEndpoint(record, withoutPort(written, record)),
      answer: {},
    }))
    return report ?? NOTHING_DONE
  }

  requestPool(request: messages.RequestPool): Promise<object> {
    return this.#change((record) => ipam.requestPool(record, request))
  }

  releasePool({ PoolID }: messages.OfPool): Promise<object> {
    return this.#change((record) => ipam.releasePool(record, PoolID))
  }

  requestAddress(request: messages.RequestAddress): Promise<object> {
    return this.#change((record) => ipam.requestAddress(record, request))
  }

  releaseAddress(request: messages.ReleaseAddress): Promise<object> {
    return this.#change((record) => ipam.releaseAddress(record, request))
  }

  async #change<T>(change: (record: DockerRecord) => ipam.Changed<T>): Promise<T> {
    return (await this.#changeAndTell(change)).answer
  }

  /** `report` is of the node, if that was changed. */
  #changeAndTell<T>(
    change: (record: DockerRecord) => ipam.Changed<T>,
  ): Promise<{ answer: T; report: ApplyReport | undefined }> {
    return this.#queue(async () => {
      const before = this.#withoutLost(this.#record)
      const { record, answer } = change(before)
      if (record === this.#record) return { answer, report: undefined }
      const { networks } = this.#record
      const same = isSameNode(record, this.#record)
      const report = same ? undefined : await this.#apply(record)
      try {
        const { file } = this.#options
        await file.save(record)
        if (record.networks !== networks) await file.flushed()
      } catch (error) {
        // Its line may be there already.
        await this.#options.file.save(before).catch(() => undefined)
        if (!same) await this.#apply(before)
        throw error
      }
      this.#record = record
      return { answer, report }
    })
  }

  /** An interface that was lost died with its namespace, or by another hand: its endpoint left. */
  #withoutLost(record: DockerRecord): DockerRecord {
    const { lost } = this.#options.controller.node.state
    let endpoints = record.endpoints
    for (const endpoint of record.endpoints.values()) {
      const { id, network, sandboxKey } = endpoint
      const key = endpointKey({ sandbox: shortId(id), network: shortId(network) })
      if (sandboxKey !== undefined && lost.has(key)) {
        endpoints = withEntry(endpoints, id, left(endpoint))
      }
    }
    return endpoints === record.endpoints ? record : { ...record, endpoints }
  }

  async #apply(record: DockerRecord): Promise<ApplyReport> {
    const { controller, desired, refresh } = this.#options
    refresh()
    return await controller.apply(desired.config(record))
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= WAITING_MAX) {
      throw new StackError('daemon', `${WAITING_MAX} calls are waiting already`)
    }
    this.#waiting++
    const result = this.#last.then(work)
    this.#last = result.catch(() => undefined).then(() => this.#waiting--)
    return result
  }
}

/** Addresses that are dealt out, and endpoints that have not joined, are only in the record. */
function isSameNode(one: DockerRecord, other: DockerRecord): boolean {
  if (one.networks !== other.networks) return false
  if (one.endpoints === other.endpoints) return true
  const there = joined(one)
  const before = joined(other)
  return there.length === before.length && there.every((endpoint, i) => endpoint === before[i])
}

/** The same record, if these are its ports already. */
function withPorts(
  record: DockerRecord,
  one: EndpointRecord,
  ports: readonly string[],
): DockerRecord {
  if (isDeepStrictEqual(one.ports, ports)) return record
  return withEndpoint(record, { ...one, ports })
}

/** @throws StackError `not-found`. */
function network({ networks }: DockerRecord, id: string): NetworkRecord {
  const found = networks.get(id)
  if (found !== undefined) return found
  const hint = 'its state file is another one; remove it with "docker network rm", and make it anew'
  throw new StackError('not-found', `tapline knows no network ${shortId(id)}: ${hint}`)
}

/** @throws StackError `not-found`. */
function endpoint({ endpoints }: DockerRecord, id: string): EndpointRecord {
  const found = endpoints.get(id)
  if (found !== undefined) return found
  throw new StackError('not-found', `tapline knows no endpoint ${shortId(id)}`)
}
