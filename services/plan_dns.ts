/** Which sandboxes must be left their port 53: a server of names of their own may listen on it. */
import type { Config, SandboxConfig } from './config/model.ts'

const DNS_PORT = 53

/** Sandboxes that answer at port 53 themselves. */
export function nameServers({ sandboxes, services }: Config): readonly string[] {
  const behind = new Set(
    services
      .filter(({ ports }) => ports.some(({ target }) => target === DNS_PORT))
      .flatMap(({ backends }) => backends.map(({ sandbox }) => sandbox)),
  )
  const serves = ({ ports }: SandboxConfig): boolean =>
    ports.some((p) => p.targetPort <= DNS_PORT && DNS_PORT < p.targetPort + p.count)
  return sandboxes.filter((one) => behind.has(one.name) || serves(one)).map(({ name }) => name)
}
