/**
 * Reads a configuration file for a command. What that takes loads as long as all else of a command:
 * only those that read a file wait for it.
 */
import { StackError } from '../../stack/errors.ts'
import type { Fault } from '../config/faults.ts'
import type { Config } from '../config/model.ts'
import type { ConfigText } from '../config_file.ts'

/** @throws StackError `bad-config` with every fault. */
export async function readConfig(path: string): Promise<{ source: ConfigText; config: Config }> {
  const { readConfigText, toConfig } = await import('../config_file.ts')
  const source = readConfigText(path)
  return { source, config: toConfig(source) }
}

/**
 * The same for whoever wants to know what is wrong: its faults, and whether an empty node would
 * have room for what it says. @throws ConfigFaults if it cannot be read.
 */
export async function checkConfig(
  path: string,
): Promise<{ source: ConfigText; config: Config | undefined; faults: readonly Fault[] }> {
  const [{ readConfigText }, { parseConfig }, { plan }, { EMPTY }] = await Promise.all([
    import('../config_file.ts'),
    import('../config/parse.ts'),
    import('../plan.ts'),
    import('../state.ts'),
  ])
  const source = readConfigText(path)
  const { config, faults } = parseConfig(source.text, source.file)
  if (config === undefined) return { source, config, faults }
  try {
    plan(config, EMPTY)
  } catch (error) {
    if (!(error instanceof StackError)) throw error
    const fault = { file: source.file, line: 1, column: 1, message: error.message }
    return { source, config, faults: [fault] }
  }
  return { source, config, faults }
}
