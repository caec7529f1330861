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
  PORT_MAX,
  PORT_PROTOCOLS,
  type PortConfig,
  type PortProtocol,
  parsePort,
  portsClash,
} from '../ports.ts'
import type { PortBinding } from './messages.ts'
import type { DockerRecord } from './record.ts'

/** @param but - the endpoint that they are for: what it publishes now is free. */
export function publishedPorts(
  bindings: readonly PortBinding[],
  record: DockerRecord,
  but: string,
): string[] {
  const taken = [...record.endpoints.values()]
    .filter(({ id, sandboxKey }) => id !== but && sandboxKey !== undefined)
    .flatMap(({ ports }) => ports.map(parsePort))
  const decided: PortConfig[] = []
  for (const binding of bindings) {
    const port = decide(binding, [...taken, ...decided])
    if (decided.some((other) => samePort(other, port))) continue
    decided.push(port)
  }
  return joinRuns(decided).map(formatPort)
}

/** @throws StackError `exists` if it is taken, `exhausted`, `unsupported`. */
function decide(binding: PortBinding, taken: readonly PortConfig[]): PortConfig {
  const { HostIP, HostPort, HostPortEnd, Port } = binding
  const protocol = protocolName(binding.Proto)
  const address = HostIP === '' ? undefined : parseAddress(HostIP)
  const [first, last] =
    HostPort === 0 ? [AUTOMATIC_FIRST, PORT_MAX] : [HostPort, Math.max(HostPort, HostPortEnd)]
  let other: PortConfig | undefined
  for (let port = first; port <= last; port++) {
    const candidate: PortConfig = { address, port, count: 1, targetPort: Port, protocol }
    other = taken.find((one) => portsClash(one, candidate))
    if (other === undefined) return candidate
  }
  if (HostPort === 0) {
    throw new StackError('exhausted', `no port is free in ${first}-${last} for ${Port}/${protocol}`)
  }
  const span = first === last ? `port ${first}/${protocol} is` : `ports ${first}-${last} are`
  throw new StackError('exists', `${span} published already, as ${formatPort(other!)}`)
}

function protocolName(number: number): PortProtocol {
  for (const [name, value] of Object.entries(PORT_PROTOCOLS)) {
    if (value === number) return name as PortProtocol
  }
  throw new StackError('unsupported', `IP protocol ${number} has no ports that can be published`)
}

function samePort(a: PortConfig, b: PortConfig): boolean {
  return formatPort(a) === formatPort(b)
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
