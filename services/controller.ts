/**
 * The controller: brings a node from what it is to what a configuration says.
 *
 * ```text
 *   config -> plan -> desired state --+
 *                                     +-- diff -> steps -> node
 *   node   ---------> current state --+
 * ```
 *
 * Everything is decided before anything is touched, so that a configuration that cannot be had
 * changes nothing. If a step fails, the state from before `apply` is the next thing that is
 * applied; what cannot be restored is reported, and the node's own account of what is there stays
 * true. An endpoint that cannot be joined then is lost, and keeps its addresses: the next file
 * gives them back to it.
 *
 * A node works while it is changed: between sandboxes the event loop has its turn. Calls are done
 * one after the other. An aborted `apply` stops between two steps and leaves what it did; whoever
 * aborts goes on with `close`, or with another `apply`.
 */
import type { Address } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import type { ConntrackRow } from '../stack/ip/conntrack_list.ts'
import { type Amendment, addPort, drain, removePort } from './amend.ts'
import { buildNode, type NodeOptions } from './build_node.ts'
import type { Config } from './config/model.ts'
import type { ConnectionEvent } from './connection_events.ts'
import type { CaptureSink } from './device_end.ts'
import { diff, reportStep, type Step, type StepReport, unchanged } from './diff.ts'
import type { Node } from './node.ts'
import { plan } from './plan.ts'
import { EMPTY, endpointKey, type State, UPLINK_KEY } from './state.ts'
import { type TraceResult, trace } from './trace.ts'
import type { TraceRequest } from './trace_request.ts'
import { Turns } from './turns.ts'
import * as views from './views.ts'
import * as counters from './views_counters.ts'
import * as names from './views_dns.ts'
import { type CachedFlow, flows } from './views_flows.ts'
import * as groups from './views_groups.ts'
import { type LeaseRow, leases } from './views_leases.ts'
import * as outside from './views_outside.ts'

export interface ApplyReport {
  /** What was done, in order; empty: nothing had changed. */
  readonly steps: readonly StepReport[]
  /** Networks, sandboxes, endpoints and routes that were there already and not touched. */
  readonly unchanged: number
  readonly durationMs: number
}

export class Controller {
  readonly node: Node
  /** In force; undefined before the first. */
  #config: Config | undefined
  #last: Promise<unknown> = Promise.resolve()
  readonly #closing = new AbortController()
  #closed: Promise<void> | undefined

  constructor(options: NodeOptions) {
    this.node = buildNode(options)
  }

  /** Of the configuration in force; empty before the first. */
  get name(): string {
    return this.#config?.name ?? ''
  }

  /** What {@link apply} would do now. @throws StackError as `apply` does, if it cannot be had. */
  preview(config: Config): readonly StepReport[] {
    const { state } = this.node
    return diff(state, this.#plan(config, state)).map(reportStep)
  }

  /**
   * Bring the node to what `config` says. What did not change is not touched. A function is asked
   * when its turn has come.
   *
   * @throws StackError if it cannot be had, or a step failed; an AggregateError if restoring what
   *   was before failed as well; the signal's reason if aborted.
   */
  apply(config: Config | (() => Config), signal?: AbortSignal): Promise<ApplyReport> {
    const now = (): Config => (typeof config === 'function' ? config() : config)
    return this.#queue(() => this.#apply(now(), signal))
  }

  /** Change the configuration in force, until the next `apply`. @throws StackError. */
  amend(change: Amendment): Promise<ApplyReport> {
    return this.#queue(async () => {
      if (this.#config === undefined) throw new StackError('daemon', 'nothing is configured yet')
      return await this.#apply(change(this.#config, this.node.state), undefined)
    })
  }

  /** False: the outside is the host, which has no such address. */
  readonly hasAddress = (address: Address): boolean => this.node.uplink?.hasAddress(address) ?? true

  /** Publish one more port until the next `apply`, written as in a file. @throws StackError. */
  addPort(written: string, sandbox: string): Promise<ApplyReport> {
    return this.amend(addPort(written, sandbox, this.hasAddress))
  }

  /** Take a published port away until the next `apply`. @throws StackError. */
  removePort(written: string): Promise<ApplyReport> {
    return this.amend(removePort(written))
  }

  /** Give a backend of a service nothing new until the next `apply`. @throws StackError. */
  drain(service: string, backend: string): Promise<ApplyReport> {
    return this.amend(drain(service, backend))
  }

  /** Take everything away and give everything back; all of it is tried. Idempotent. */
  close(): Promise<void> {
    this.#closing.abort(new StackError('daemon', 'the node is closing'))
    this.#closed ??= this.#last.then(() => this.#close())
    return this.#closed
  }

  ls(): views.Listing {
    return views.ls(this.node, this.name)
  }

  /** One network, sandbox or device by name; without a name, all. @throws StackError. */
  inspect(name?: string): views.Inspection {
    return views.inspect(this.node, this.name, name)
  }

  fdb(network?: string): views.FdbRow[] {
    return views.fdb(this.node, network)
  }

  /** @throws StackError `not-found`. */
  leases(network?: string): LeaseRow[] {
    return leases(this.node, network)
  }

  /** Who wants which multicast group. @throws StackError `not-found`. */
  groups(network?: string): groups.MemberRow[] {
    return groups.groups(this.node, network)
  }

  neigh(): views.NeighborRow[] {
    return views.neigh(this.node)
  }

  routes(): views.RouteRow[] {
    return views.routes(this.node)
  }

  stats(): counters.Stats {
    return counters.stats(this.node)
  }

  drops(): counters.DropRow[] {
    return counters.drops(this.node)
  }

  ports(): outside.PortRow[] {
    return outside.ports(this.node)
  }

  services(): outside.ServiceRow[] {
    return outside.services(this.node)
  }

  /** @throws StackError `not-found`. */
  conntrack(filter: outside.ConnectionFilter = {}): ConntrackRow[] {
    return outside.conntrack(this.node, filter)
  }

  /** @throws StackError `not-found`. */
  flows(device?: string): CachedFlow[] {
    return flows(this.node, device)
  }

  /** Forget connections; how many. @throws StackError `not-found`. */
  forgetConnections(filter: outside.ConnectionFilter): number {
    return outside.forgetConnections(this.node, filter)
  }

  /** Hear of connections that fit, until the returned function is called. @throws StackError. */
  followConnections(
    filter: outside.ConnectionFilter,
    listener: (event: ConnectionEvent) => void,
  ): () => void {
    const test = outside.connectionTest(this.node, filter)
    return this.node.connectionEvents.subscribe((event) => {
      if (test(event)) listener(event)
    })
  }

  names(): names.NamesView {
    return names.names(this.node)
  }

  namesCache(): names.CacheRow[] {
    return names.namesCache(this.node)
  }

  /** Forget what forwarders answered; how many answers. */
  flushNames(): number {
    return names.flushNames(this.node)
  }

  /** What a sandbox is told of a name, and why. @throws StackError `not-found`. */
  resolveName(request: names.ResolveRequest): Promise<names.Resolution> {
    return names.resolveName(this.node, request)
  }

  /** What would happen to a packet. Nothing is sent and nothing changes. @throws StackError. */
  trace(request: TraceRequest): TraceResult {
    return trace(this.node, request)
  }

  /** See {@link Captures.attach}. */
  attachCapture(devices: readonly string[] | 'all', sink: CaptureSink): () => void {
    return this.node.attachCapture(devices, sink)
  }

  #plan(config: Config, held: State): State {
    return plan(config, held, (vni) => this.node.context.overlays.elsewhere(vni))
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {})
    return result
  }

  async #apply(config: Config, signal: AbortSignal | undefined): Promise<ApplyReport> {
    const startMs = performance.now()
    const signals = [this.#closing.signal, ...(signal === undefined ? [] : [signal])]
    const stop = AbortSignal.any(signals)
    stop.throwIfAborted()
    const before = this.node.state
    const desired = this.#plan(config, before)
    const steps = diff(before, desired)
    try {
      await this.#run(steps, stop)
    } catch (error) {
      if (!stop.aborted) await this.#restore(before, error)
      throw error
    }
    this.#config = config
    const report: ApplyReport = {
      steps: steps.map(reportStep),
      unchanged: unchanged(desired, steps),
      durationMs: Math.round(performance.now() - startMs),
    }
    this.node.context.log.info({ ...report, steps: steps.length }, 'applied')
    return report
  }

  /** Do steps, until one fails. */
  async #run(steps: readonly Step[], stop: AbortSignal): Promise<void> {
    const turns = new Turns()
    for (const step of steps) {
      await turns.before(step)
      stop.throwIfAborted()
      try {
        await this.node.run(step)
      } catch (error) {
        throw explain(step, error)
      }
    }
    await this.node.settle()
  }

  /**
   * Back to `before`, as far as it goes. Endpoints that were lost then are tried as well, each for
   * itself, and it is no further fault if they stay lost.
   */
  async #restore(before: State, cause: unknown): Promise<void> {
    const { state } = this.node
    const lost = new Set(state.lost)
    if (before.lost.has(UPLINK_KEY)) lost.delete(UPLINK_KEY)
    const failures = await this.#attempt(diff({ ...state, lost }, { ...before, lost: new Set() }))
    const errors: StackError[] = []
    for (const { step, error } of failures) {
      const isJoin = step?.action === 'join'
      if (isJoin) this.node.keepLost(step.endpoint, reasonOf(error.cause))
      if (!isJoin || !before.lost.has(endpointKey(step.endpoint))) errors.push(error)
    }
    if (errors.length === 0) return
    const message = 'applying failed, and so did restoring what was before'
    throw new AggregateError([cause, ...errors], message)
  }

  async #close(): Promise<void> {
    const failures = await this.#attempt(diff(this.node.state, EMPTY))
    const errors: unknown[] = failures.map(({ error }) => error)
    for (const give of [() => this.node.close(), () => this.node.context.links.close()]) {
      try {
        give()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, 'not everything could be taken away')
  }

  /** Do every step whatever becomes of the others. */
  async #attempt(steps: readonly Step[]): Promise<Failure[]> {
    const failures: Failure[] = []
    const turns = new Turns()
    for (const step of steps) {
      await turns.before(step)
      try {
        await this.node.run(step)
      } catch (error) {
        failures.push({ step, error: explain(step, error) })
      }
    }
    await this.node.settle().catch((error) => failures.push({ step: undefined, error }))
    for (const { error } of failures) this.node.context.log.error({ err: error }, String(error))
    return failures
  }
}

/** A step that was attempted in vain; undefined: it was telling what is outside. */
interface Failure {
  readonly step: Step | undefined
  readonly error: StackError
}

/** Which step it was. */
function explain(step: Step, error: unknown): StackError {
  const { action, subject } = reportStep(step)
  const code = error instanceof StackError ? error.code : 'daemon'
  return new StackError(code, `${action} ${subject}: ${reasonOf(error)}`, { cause: error })
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
