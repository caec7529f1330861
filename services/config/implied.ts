/** Networks that `network_mode` stands for, as Compose has it: they need no entry of their own. */
import type { NetworkConfig } from './model.ts'
import { NO_NETWORK_OPTIONS } from './options_model.ts'

/** The network of a mode: `host`, `none` or `container:NAME`; undefined: it is no mode. */
export function impliedNetwork(mode: string): NetworkConfig | undefined {
  const target = /^container:(.+)$/.exec(mode)?.[1]
  if (mode === 'host') return implied('host', 'host')
  if (mode === 'none') return implied('none', 'null')
  return target === undefined ? undefined : implied(mode, 'container', target)
}

function implied(
  name: string,
  driver: 'host' | 'null' | 'container',
  target?: string,
): NetworkConfig {
  return {
    name,
    driver,
    ipv4: false,
    ipv6: false,
    internal: false,
    subnets: [],
    options: { ...NO_NETWORK_OPTIONS, sandbox: target },
    policy: undefined,
    dhcp: undefined,
    announce: { dns: undefined, search: [] },
    overlay: undefined,
  }
}
