/**
 * Asking an IPAM plugin, where the configuration names one (specification, section 4): it is run
 * with our environment and configuration, and gives addresses instead of the daemon.
 */
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { CniError, Code, type Command, type Conf, type Json } from './conf.ts'

/** A plugin answers in milliseconds; one that asks a DHCP server takes longer. */
const LIMIT_MS = 60_000

/** Addresses with bits. @throws CniError: the plugin's own, or that there is none. */
export async function delegateAdd(conf: Conf, path: readonly string[]): Promise<string[]> {
  const { ips = [] } = (await run('ADD', conf, path)) as { ips?: readonly Json[] }
  return ips.map(({ address }) => String(address))
}

export async function delegate(
  command: Command,
  conf: Conf,
  path: readonly string[],
): Promise<void> {
  await run(command, conf, path)
}

async function run(command: Command, conf: Conf, path: readonly string[]): Promise<Json> {
  const program = find(conf.ipam!, path)
  const env = { ...process.env, CNI_COMMAND: command }
  const child = spawn(program, { env, timeout: LIMIT_MS, stdio: ['pipe', 'pipe', 'inherit'] })
  let out = ''
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString()
  })
  // It may end before it has read all; how, its exit code says.
  child.stdin.on('error', () => undefined)
  child.stdin.end(conf.text)
  const status = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  }).catch((error) => {
    throw new CniError(Code.Failed, `the IPAM plugin ${program} does not run`, String(error))
  })
  const answer = out.trim() === '' ? {} : parse(out, program)
  if (status === 0) return answer
  const { code, msg, details } = answer
  const text = typeof msg === 'string' ? msg : `the IPAM plugin ${program} failed`
  throw new CniError(typeof code === 'number' ? code : Code.Failed, text, String(details ?? ''))
}

function find(name: string, path: readonly string[]): string {
  if (!name.includes('/')) {
    for (const folder of path) {
      const file = join(folder, name)
      try {
        accessSync(file, constants.X_OK)
        return file
      } catch {
        // Not in this one.
      }
    }
  }
  throw new CniError(Code.Config, `no IPAM plugin "${name}" in CNI_PATH`, path.join(':'))
}

function parse(text: string, program: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch {
    throw new CniError(Code.Decode, `the IPAM plugin ${program} answers no JSON`, text)
  }
}
