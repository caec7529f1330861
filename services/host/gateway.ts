/**
 * The host as the outside: a TAP in the namespace of the process, and what leads traffic there and
 * back.
 *
 * ```text
 *   others ─ eth0 ─┐                                    ┌─ TAP "tapline0" ── router ── sandboxes
 *                  ├─ host: nftables (ruleset.ts) ──────┤  198.18.x.1 ........ 198.18.x.2
 *   programs ─ lo ─┘        forwarding (sysctls.ts)     └─ transfer net, of each family
 * ```
 *
 * A published port is an element of a set; what it catches gets the router's address of the
 * transfer net and keeps port and source. One that is published on a single address of the host
 * gets another address of that net instead, a stand-in, so that several may have the same port.
 * What was published and taken away is written in one transaction when all of it is known: a run
 * of nft costs more than the rest of a port. Clients that the host tracks under the rules of before
 * are forgotten then (stale.ts).
 *
 * What must be put back is written into our own table before anything is set, so that the kernel
 * itself remembers it: the next start finds what a killed daemon left, and undoes it first. While
 * another daemon's table needs forwarding, it is left on, and the duty to put it back passes there.
 *
 * The kernel delivers packets for ::1 only if they came by the interface that its route names; the
 * answers to those that we led away come by the TAP, so the TAP has such a route too. IPv4's
 * counterpart is `route_localnet`. Both end with the TAP.
 */
import { writeFileSync } from 'node:fs'
import {
  type Address,
  contains,
  familyBits,
  formatAddress,
  formatPrefix,
  isLoopback,
  networkOf,
  type Prefix,
  parseAddress,
  sameAddress,
} from '../../stack/address.ts'
import type { Device } from '../../stack/device.ts'
import { StackError } from '../../stack/errors.ts'
import { type HostPort, type HostRequest, type HostSide, type Links, OWN_NETNS } from '../links.ts'
import type { Log } from '../log.ts'
import { allListeners, inUse, type Listeners } from './busy.ts'
import { hostAddresses } from './host_addresses.ts'
import * as nft from './nft.ts'
import { freeInterface, isThere, onInterface, refuseTakenNet } from './own_taps.ts'
import {
  BEFORE,
  elementsScript,
  handOverScript,
  portElement,
  TABLE_PREFIX,
  type TransferNet,
  tableScript,
} from './ruleset.ts'
import { forgetPorts } from './stale.ts'
import { formatSetting, forwarding, parseSetting, write } from './sysctls.ts'

/** Stand-ins of one family. */
const STAND_INS_MAX = 256
/** Behind the kernel's own route to ::1. */
const LOOPBACK_METRIC = 4096
const LOOPBACK6 = parseAddress('::1')
/** The line of {@link BEFORE} that says whose the table is. */
const WHOSE = 'interface '

export class HostGateway implements HostSide {
  readonly device: Device
  readonly interfaceName: string
  readonly #table: string
  readonly #router: readonly Prefix[]
  readonly #host: readonly Prefix[]
  /** Elements of published ports: as they are to be, and as they are on the host. */
  readonly #wanted = new Map<string, HostPort>()
  #applied: ReadonlyMap<string, HostPort> = new Map()
  /** Who listens on the host, read once for all that is published together. */
  #listeners: Listeners | undefined
  readonly #log: Log
  /** The host's kernel lacks what it takes, which was said. */
  #cannotForget = false
  /** The table without them. */
  #script = ''
  /** What the table was told to remember. */
  #before: readonly string[] = []
  /** Stand-ins by the address that they stand for; they stay until the end. */
  readonly #standIns = new Map<string, Address>()

  private constructor(request: HostRequest, made: { device: Device; interfaceName: string }) {
    this.device = made.device
    this.interfaceName = made.interfaceName
    this.#table = request.table
    this.#router = request.addresses
    this.#host = request.peerAddresses
    this.#log = request.log
  }

  /** @throws StackError; the host is then as it was. */
  static async open(
    links: Pick<Links, 'attach' | 'detach'>,
    request: HostRequest,
  ): Promise<HostGateway> {
    const { table, log } = request
    await putBack({ table })
    refuseTakenNet(request.peerAddresses)
    const interfaceName = freeInterface()
    const device = await links.attach({
      sandbox: request.deviceName,
      netns: OWN_NETNS,
      interfaceName,
      deviceName: request.deviceName,
      mac: request.mac,
      mtuBytes: request.mtuBytes,
      addresses: request.peerAddresses,
      routes: [],
      offload: true,
    })
    const gateway = new HostGateway(request, { device, interfaceName })
    try {
      await gateway.#start()
      await request.accept?.(interfaceName)
      for (const chain of await nft.droppingForward(interfaceName)) {
        const message = `chain "${chain}" of this host drops what it forwards: accept there what `
        log.warn({ chain }, `${message}comes from and goes to ${interfaceName}`)
      }
      return gateway
    } catch (error) {
      links.detach(device)
      await gateway.close().catch((why) => log.error({ err: why }, String(why)))
      throw error
    }
  }

  async #start(): Promise<void> {
    const { interfaceName } = this
    const nets = this.#router.map((prefix): TransferNet => {
      const { address, bits } = prefix
      const host = this.#host.find((peer) => contains(prefix, peer.address))!
      return { family: address.family, router: address, host: host.address, bits }
    })
    const families = nets.map(({ family }) => family)
    const { before, set } = forwarding(families, interfaceName)
    const lines = [`${WHOSE}${interfaceName}`, ...before.map(formatSetting)]
    const table = this.#table
    this.#before = lines
    this.#script = tableScript({ table, interfaceName, nets, before: lines })
    await nft.apply(this.#script)
    write(set)
    if (families.includes(4)) {
      writeFileSync(`/proc/sys/net/ipv4/conf/${interfaceName}/route_localnet`, '1')
    }
    if (families.includes(6)) {
      onInterface(interfaceName, (netlink, index) =>
        netlink.addLocalRoute(index, { address: LOOPBACK6, metric: LOOPBACK_METRIC }),
      )
    }
  }

  addresses(): Address[] {
    return hostAddresses()
      .filter(({ prefix, isLinkLocal }) => !isLinkLocal && !isLoopback(prefix.address))
      .map(({ prefix }) => prefix.address)
  }

  leads(asked: Pick<HostPort, 'protocol' | 'port'> & { address: Address }): Address | undefined {
    const { protocol, port, address } = asked
    const { family } = address
    const those = [...this.#applied.values()].filter(
      (one) => one.protocol === protocol && one.family === family && one.port <= port,
    )
    const ports = those.filter((one) => port < one.port + one.count)
    const bound = ports.find((one) => one.address && sameAddress(one.address, address))
    if (bound !== undefined) return this.standIn(address)
    if (!ports.some((one) => one.address === undefined)) return undefined
    return this.#router.find((own) => own.address.family === family)!.address
  }

  standIn(address: Address): Address {
    const key = formatAddress(address)
    const given = this.#standIns.get(key)
    if (given !== undefined) return given
    const chosen = this.#chooseStandIn(address)
    const via = this.#router.find((own) => own.address.family === address.family)!.address
    onInterface(this.interfaceName, (netlink, index) => {
      const destination = { address: chosen, bits: familyBits(chosen.family) }
      netlink.addRoute(index, { destination, via })
    })
    this.#standIns.set(key, chosen)
    return chosen
  }

  /** An address of the transfer net that nobody has. @throws StackError `exhausted`. */
  #chooseStandIn({ family }: Address): Address {
    const taken = [...this.#router, ...this.#host].map(({ address }) => address)
    taken.push(...this.#standIns.values())
    const net = this.#router.find(({ address }) => address.family === family)
    if (net === undefined) throw new StackError('exhausted', `the uplink has no IPv${family}`)
    const first = networkOf(net)
    for (let i = 1; i <= STAND_INS_MAX; i++) {
      const words = first.words.slice()
      words[3] = words[3]! + i
      const address: Address = { family, words }
      // The last of a net is its broadcast address.
      const next: Address = { family, words: words.with(3, words[3]! + 1) }
      if (!contains(net, next)) break
      if (!taken.some((other) => sameAddress(other, address))) return address
    }
    const message = `the transfer net ${formatPrefix({ address: first, bits: net.bits })}`
    throw new StackError('exhausted', `${message} has no address left for one more of the host's`)
  }

  publish(ports: readonly HostPort[]): void {
    const reachable = this.#reachable(ports)
    this.#listeners ??= allListeners()
    const taken = inUse(reachable, this.#listeners)
    if (taken !== undefined) throw new StackError('exists', taken)
    const elements = reachable.map((port) => [this.#element(port), port] as const)
    for (const [element, port] of elements) this.#wanted.set(element, port)
  }

  unpublish(ports: readonly HostPort[]): void {
    for (const element of this.#reachable(ports).map(this.#element)) this.#wanted.delete(element)
  }

  async settle(): Promise<void> {
    this.#listeners = undefined
    const table = this.#table
    const wanted = new Map(this.#wanted)
    const before = this.#applied
    const gone = [...before.keys()].filter((element) => !wanted.has(element))
    const fresh = [...wanted.keys()].filter((element) => !before.has(element))
    if (gone.length === 0 && fresh.length === 0) return
    const change = elementsScript('delete', table, gone) + elementsScript('add', table, fresh)
    try {
      await nft.apply(change)
    } catch (error) {
      // Whoever flushes the rules of a host takes ours along.
      if ((await nft.tables()).includes(table)) throw error
      await nft.apply(this.#script + elementsScript('add', table, [...wanted.keys()]))
    }
    this.#applied = wanted
    const changed = [...gone.map((key) => before.get(key)), ...fresh.map((key) => wanted.get(key))]
    await this.#forget(changed.filter((port) => port !== undefined))
  }

  /** What the host tracks of ports, under other rules than those of now. */
  async #forget(ports: readonly HostPort[]): Promise<void> {
    if (this.#cannotForget) return
    try {
      await forgetPorts(ports)
    } catch (error) {
      this.#cannotForget = true
      const message = 'UDP and SCTP clients of ports that change must use a new port of their own'
      this.#log.warn({ err: error }, `${message}: this host forgets no connections: ${error}`)
    }
  }

  readonly #element = (port: HostPort): string =>
    portElement(port, port.address && this.standIn(port.address))

  /** Those of the families that the transfer net has. */
  #reachable(ports: readonly HostPort[]): HostPort[] {
    return ports.filter(({ family }) => this.#router.some((own) => own.address.family === family))
  }

  async close(): Promise<void> {
    const mine = { interfaceName: this.interfaceName, before: this.#before }
    await putBack({ table: this.#table, mine })
    await this.#forget([...this.#applied.values()])
  }
}

interface Ours {
  readonly interfaceName: string
  readonly before: readonly string[]
}

/**
 * Undo what a table remembers, and delete it. `mine`: by whom it was made, and told to remember
 * what; left out: whoever made it is no more.
 *
 * @throws StackError `exists` if another daemon is at work with it.
 */
async function putBack({ table, mine }: { readonly table: string; mine?: Ours }): Promise<void> {
  const all = await nft.tables()
  const isLeft = all.includes(table)
  const lines = isLeft ? await nft.comments(table, BEFORE) : (mine?.before ?? [])
  const whose = interfaceOf(lines)
  if (whose !== mine?.interfaceName && isThere(whose)) {
    throw new StackError('exists', `table inet ${table} is another daemon's, by ${whose}`)
  }
  const settings = lines.map(parseSetting).filter((setting) => setting !== undefined)
  const heir = settings.length === 0 ? undefined : await living(all, table)
  if (heir === undefined) write(settings)
  else await nft.apply(handOverScript(heir, settings.map(formatSetting)))
  if (isLeft) await nft.apply(`delete table inet ${table}\n`)
}

/** Another table of ours whose daemon is at work. */
async function living(all: readonly string[], but: string): Promise<string | undefined> {
  for (const table of all) {
    if (table === but || !table.startsWith(TABLE_PREFIX)) continue
    if (isThere(interfaceOf(await nft.comments(table, BEFORE)))) return table
  }
  return undefined
}

function interfaceOf(lines: readonly string[]): string {
  return lines.find((line) => line.startsWith(WHOSE))?.slice(WHOSE.length) ?? ''
}
