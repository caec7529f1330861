/** Whose stack a sandbox has: its own, the host's, or another sandbox's. */
import type { Config, SandboxConfig } from './config/model.ts'
import type { SandboxState } from './state.ts'

export function sandboxState(sandbox: SandboxConfig, config: Config): SandboxState {
  const { name, netns } = sandbox
  const network = config.networks.find((n) => n.name === sandbox.endpoints[0]?.network)
  if (network?.driver === 'host') return { name, netns: '', stack: 'host' }
  if (network?.driver !== 'container') {
    const foreign = sandbox.endpoints.some(({ handOver }) => handOver !== undefined)
    return { name, netns, stack: foreign ? 'foreign' : 'own' }
  }
  const owner = config.sandboxes.find((other) => other.name === network.options.sandbox)!
  return { name, netns: sandboxState(owner, config).netns, stack: 'shared' }
}
