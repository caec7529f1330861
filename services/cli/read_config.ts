/**
 * Reads a configuration file for a command. What that takes loads as long as all else of a command:
 * only those that read a file wait for it.
 */
import type { Config } from '../config/model.ts'
import type { ConfigText } from '../config_file.ts'

/** @throws StackError `bad-config` with every fault. */
export async function readConfig(path: string): Promise<{ source: ConfigText; config: Config }> {
  const { readConfigText, toConfig } = await import('../config_file.ts')
  const source = readConfigText(path)
  return { source, config: toConfig(source) }
}
