/**
 * Docker's port bindings as published ports.
 *
 * Docker has one binding a port, also for `-p 9000-9999:9000-9999`; runs of them become one entry.
 * Ports that are left to us (`-P`, `-p 80`) come from the dynamic range, or from the range that is
 * named (`-p 8000-8010:80`), and are decided here, so that they stay over a restart.
 */
import { parseAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import {
  AUTOMATIC_FIRST,
  formatPort,
  formatPublished,
  PORT_MAX,
  PORT_PROTOCOLS,
  type PortConfig,
  type PortProtocol,
  parsePort,
  portsClash,
} from '../ports.ts'
import type { PortBinding } from './messages.ts'
import type { DockerRecord, EndpointRecord } from './record.ts'

/** @param but - the endpoint that they are for: what it publishes now is free. */
export function publishedPorts(
  bindings: readonly PortBinding[],
  record: DockerRecord,
  but: string,
): string[] {
  const taken = takenPorts(record, but)
  const decided: PortConfig[] = []
  for (const binding of bindings) {
    decided.push(decide(binding, [...taken, ...decided]))
  }
  return joinRuns(decided).map(formatPort)
}

/** @throws StackError `exists` if it is taken, `exhausted`, `unsupported`. */
function decide(binding: PortBinding, taken: readonly PortConfig[]): PortConfig {
  const { HostIP, HostPort, HostPortEnd, Port: targetPort } = binding
  const protocol = protocolName(binding.Proto)
  const address = HostIP === '' ? undefined : parseAddress(HostIP)
  const port = HostPort === 0 ? undefined : HostPort
  return choose({ address, port, count: 1, targetPort, protocol }, HostPortEnd, taken)
}

/** The first free place from its port on, up to `last`; without a port, of the dynamic range. */
function choose(port: PortConfig, last: number, taken: readonly PortConfig[]): PortConfig {
  const { count, protocol, targetPort } = port
  const first = port.port ?? AUTOMATIC_FIRST
  const end = port.port === undefined ? PORT_MAX - count + 1 : Math.max(first, last)
  let other: PortConfig | undefined
  for (let place = first; place <= end; place++) {
    const candidate: PortConfig = { ...port, port: place }
    other = taken.find((one) => portsClash(one, candidate))
    if (other === undefined) return candidate
  }
  if (port.port === undefined) {
    const what = `${targetPort}/${protocol}`
    throw new StackError('exhausted', `no port is free in ${first}-${PORT_MAX} for ${what}`)
  }
  const many = `ports ${first}-${Math.max(end, first + count - 1)}/${protocol} are`
  const span = end === first && count === 1 ? `port ${first}/${protocol} is` : many
  throw new StackError('exists', `${span} published already, as ${formatPort(other!)}`)
}

/** One more port of an endpoint, written as in a file. @throws StackError. */
export function addedPort(written: string, record: DockerRecord): PortConfig {
  const { among, ...port } = parsePort(written)
  const first = among?.first ?? port.port
  return choose({ ...port, port: first }, among?.last ?? 0, takenPorts(record, undefined))
}

/** Whose a port is, as listed or as added, and that without it. @throws StackError `not-found`. */
export function withoutPort(written: string, record: DockerRecord): EndpointRecord {
  const named = (text: string): boolean => {
    const port = parsePort(text)
    const names = [formatPort(port), formatPublished(port)]
    return names.some((name) => name === written || name === `${written}/tcp`)
  }
  for (const endpoint of record.endpoints.values()) {
    const ports = endpoint.ports.filter((text) => !named(text))
    if (ports.length < endpoint.ports.length) return { ...endpoint, ports }
  }
  const message = `no published port "${written}"; "tapline ports" lists them`
  throw new StackError('not-found', message)
}

/** Ports of endpoints that are joined. */
function takenPorts({ endpoints }: DockerRecord, but: string | undefined): PortConfig[] {
  return [...endpoints.values()]
    .filter(({ id, sandboxKey }) => id !== but && sandboxKey !== undefined)
    .flatMap(({ ports }) => ports.map(parsePort))
}

function protocolName(number: number): PortProtocol {
  for (const [name, value] of Object.entries(PORT_PROTOCOLS)) {
    if (value === number) return name as PortProtocol
  }
  throw new StackError('unsupported', `IP protocol ${number} has no ports that can be published`)
}

/** Ports that follow one another on both sides, as one. */
function joinRuns(ports: readonly PortConfig[]): PortConfig[] {
  const runs: PortConfig[] = []
  for (const port of ports) {
    const before = runs.at(-1)
    if (before !== undefined && follows(before, port)) {
      runs[runs.length - 1] = { ...before, count: before.count + 1 }
    } else runs.push(port)
  }
  return runs
}

function follows(run: PortConfig, port: PortConfig): boolean {
  return (
    run.protocol === port.protocol &&
    run.port! + run.count === port.port &&
    run.targetPort + run.count === port.targetPort &&
    formatPort({ ...run, port: 1, count: 1, targetPort: 1 }) ===
      formatPort({ ...port, port: 1, targetPort: 1 })
  )
}
