#!/usr/bin/env node
/** The executable: `tapline COMMAND`. See program.ts. */
import { watchOutput } from './output.ts'
import { runCommand } from './program.ts'

watchOutput()
process.exitCode = await runCommand(process.argv.slice(2))
