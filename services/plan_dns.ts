/** Which sandboxes must be left their port 53: a server of names of their own may listen on it. */
import type { Config } from './config/model.ts'
import type { PortConfig } from './ports.ts'

const DNS_PORT = 53

/** Whether the port of names is among the targets. */
function serves({ targetPort, count }: PortConfig): boolean {
  return targetPort <= DNS_PORT && DNS_PORT < targetPort + count
}

/** Sandboxes that answer at port 53 themselves. */
export function nameServers({ sandboxes, services }: Config): readonly string[] {
  const behind = new Set(
    services
      .filter(({ ports }) => ports.some(serves))
      .flatMap(({ backends }) => backends.map(({ sandbox }) => sandbox)),
  )
  return sandboxes
    .filter(({ name, ports }) => behind.has(name) || ports.some(serves))
    .map(({ name }) => name)
}
