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
import { parsePrefix } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { refuseElsewhere } from '../amend.ts'
import type { ApplyReport, Controller } from '../controller.ts'
import type { Links } from '../links.ts'
import type { Log } from '../log.ts'
import { formatPort, parsePort } from '../ports.ts'
import { endpointKey } from '../state.ts'
import { Apart, stillThere } from './apart.ts'
import { type Desired, linkName, shortId } from './desired.ts'
import { findEndpoint, findNetwork, refuseTwin } from './find.ts'
import * as ipam from './ipam.ts'
import type * as messages from './messages.ts'
import { PORT_MAP, portMap } from './messages.ts'
import { addedPort, publishedPorts, withoutPort } from './ports.ts'
import {
  type DockerRecord,
  type EndpointRecord,
  joined,
  left,
  NOTHING,
  withEndpoint,
  withEntry,
  withPorts,
} from './record.ts'
import type { RecordFile } from './record_file.ts'
import { endpointRecord, gatewayFor, networkRecord } from './translate.ts'

/** Calls that may wait for the one that runs. */
const WAITING_MAX = 4096
/** Until an endpoint that could not be taken up is tried again. */
const RETRY_MS = 5000
const NOTHING_DONE: ApplyReport = { steps: [], unchanged: 0, durationMs: 0 }

export interface DriverOptions {
  readonly controller: Controller
  readonly desired: Desired
  readonly links: Links
  readonly file: RecordFile
  readonly log: Log
  /** The host is the outside: networks must not have its addresses. */
  readonly onHost: boolean
  /** Called before each change: the clock may have stood still. */
  readonly refresh: () => void
}

export class DockerDriver {
  readonly #options: DriverOptions
  #record: DockerRecord = NOTHING
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0
  readonly #apart: Apart
  #retry: NodeJS.Timeout | undefined
  #isEnding = false

  constructor(options: DriverOptions) {
    this.#options = options
    this.#apart = new Apart(options.log)
  }

  get record(): DockerRecord {
    return this.#record
  }

  /**
   * Take up what the file has and is still there; see apart.ts.
   *
   * @throws StackError if the file is not ours, or the node cannot have the networks; the file is
   * then as it was.
   */
  restore(): Promise<void> {
    return this.#queue(async () => {
      const { file, log, links } = this.#options
      const record = stillThere(file.load(), links, log)
      this.#apart.addAll(record)
      await this.#apply(record)
      this.#record = record
      await this.#takeUp()
      await file.save(record)
      await file.flushed()
    })
  }

  /** Endpoints that are apart, now and again until there are none. */
  async #takeUp(): Promise<void> {
    this.#apart.forget(this.#record)
    const { handedOver } = this.#options.links
    const apply = (): Promise<unknown> => this.#apply(this.#record)
    const keeping = handedOver === undefined ? apply : () => handedOver.keeping(apply)
    await this.#apart.takeUp(keeping, () => this.#isEnding)
    if (this.#apart.size === 0 || this.#isEnding) return
    this.#retry = setTimeout(() => {
      void this.#queue(() => this.#takeUp()).catch(() => undefined)
    }, RETRY_MS).unref()
  }

  /** Wait for the calls that were made. Nothing is done after that but what is asked. */
  async idle(): Promise<void> {
    this.#isEnding = true
    clearTimeout(this.#retry)
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
      if (this.#options.onHost) {
        for (const { subnet } of network.subnets) ipam.refuseHostNet(parsePrefix(subnet))
      }
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
      findNetwork(record, NetworkID)
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
    const { mac, ports } = findEndpoint(this.#record, id)
    const published = ports.length === 0 ? {} : { 'tapline.ports': ports.join(' ') }
    const sandbox = { 'tapline.sandbox': shortId(id) }
    return { Value: { 'com.docker.network.endpoint.macaddress': mac, ...sandbox, ...published } }
  }

  join({ NetworkID, EndpointID, SandboxKey }: messages.Join): Promise<messages.JoinAnswer> {
    return this.#change((record) => {
      const { internal, subnets, prefix } = findNetwork(record, NetworkID)
      const joined = { ...findEndpoint(record, EndpointID), sandboxKey: SandboxKey }
      refuseTwin(record, joined)
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
      const known = findEndpoint(record, id)
      const ports = publishedPorts(bindings, record, id)
      this.#refuseElsewhere(ports, known, record)
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
      const added = formatPort(addedPort(written, record))
      this.#refuseElsewhere([added], known, record)
      const ports = [...known.ports, added]
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
      this.#apart.forget(record)
      return { answer, report }
    })
  }

  /** Ports at addresses where nobody would be served. @throws StackError `bad-argument`. */
  #refuseElsewhere(ports: readonly string[], { network }: EndpointRecord, all: DockerRecord): void {
    const { controller, desired } = this.#options
    const { networks, uplink } = desired.config(this.#apart.without(all))
    const own = networks.find(({ name }) => name === shortId(network))!
    const at = { uplink, hasAddress: controller.hasAddress }
    for (const written of ports) refuseElsewhere(parsePort(written), own, at)
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
    return await controller.apply(desired.config(this.#apart.without(record)))
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
