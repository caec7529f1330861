#!/usr/bin/env node
/**
 * The executable: `tapline COMMAND`, see program.ts; or, as container runtimes start it, a CNI
 * plugin, which loads nothing that it does not need.
 */
import { isPlugin, main } from '../cni/main.ts'

const args = process.argv.slice(2)
if (isPlugin(args)) process.exitCode = await main()
else {
  const [{ watchOutput }, { runCommand }] = await Promise.all([
    import('./output.ts'),
    import('./program.ts'),
  ])
  watchOutput()
  process.exitCode = await runCommand(args)
}
