/** What a runtime waits for: one call of a CNI plugin that attaches a container, and one back. */
import { inNetns } from '../netns.ts'
import type { Metrics } from '../questions.ts'
import { run } from '../shell.ts'

/** A plugin with its configuration, as a runtime starts it. */
export interface CniPlugin {
  /** The namespace that it is started in. */
  readonly middle: string
  readonly argv: readonly string[]
  /** Its configuration, in a file. */
  readonly file: string
}

export interface CniCall {
  readonly command: 'ADD' | 'DEL'
  readonly container: string
  /** Name under /var/run/netns. */
  readonly netns: string
}

/** One call; the result as it was printed. @throws Error with what the plugin said. */
export function callPlugin(
  { middle, argv, file }: CniPlugin,
  { command, container, netns }: CniCall,
): Promise<string> {
  const env = [
    `CNI_COMMAND=${command}`,
    `CNI_CONTAINERID=${container}`,
    `CNI_NETNS=/var/run/netns/${netns}`,
    'CNI_IFNAME=eth0',
    'CNI_PATH=/usr/lib/cni',
  ]
  // Runtimes hand the configuration over on stdin.
  const script = ['sh', '-c', `exec "$@" < ${file}`, 'sh', ...argv]
  return run(inNetns(middle, ['env', ...env, ...script]))
}

/** A trial: attach the container of an empty namespace, and take it away again. */
export function measureCalls(plugin: CniPlugin, netns: string): () => Promise<Metrics> {
  let count = 0
  return async () => {
    const container = `trial${count++}`
    const call = async (command: CniCall['command']): Promise<number> => {
      const fromMs = performance.now()
      await callPlugin(plugin, { command, container, netns })
      return performance.now() - fromMs
    }
    return { addMs: await call('ADD'), delMs: await call('DEL') }
  }
}
