/** Networks that `network_mode` stands for, and that need no entry of their own. */
import { type NetworkConfig, NO_NETWORK_OPTIONS } from './model.ts'

export function impliedNetwork(
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
  }
}
