/**
 * The program nft, which speaks nftables' netlink for us: one transaction a run, all of it or
 * nothing. It runs in the namespace that the process is in, off the thread that carries packets.
 */
import { execFile } from 'node:child_process'
import { StackError } from '../../stack/errors.ts'

/** A run takes some milliseconds; a kernel that is busy with others' rules may take longer. */
const LIMIT_MS = 10_000
/** Of a listing: hosts with tens of thousands of rules. */
const OUTPUT_MAX_BYTES = 64 << 20
/** Daemons are often started without the folders of administrators. */
const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`

/** Apply a script. @throws StackError: nothing of it was done. */
export async function apply(script: string): Promise<void> {
  await run(['-f', '-'], script)
}

/** Names of the tables of family `inet`. */
export async function tables(): Promise<string[]> {
  const list = await objects(['list', 'tables', 'inet'])
  return list.flatMap(({ table }) => (table === undefined ? [] : [String(table['name'])]))
}

/** Comments of the rules of one chain. Precondition: the table is there. */
export async function comments(table: string, chain: string): Promise<string[]> {
  const list = await objects(['list', 'table', 'inet', table])
  return list.flatMap(({ rule }) =>
    rule?.['chain'] === chain && typeof rule['comment'] === 'string' ? [rule['comment']] : [],
  )
}

/** Chains, of whoever, that forwarding goes through and that drop what no rule of theirs took. */
export async function droppingForward(): Promise<string[]> {
  const list = await objects(['list', 'chains'])
  return list.flatMap(({ chain }) =>
    chain?.['hook'] === 'forward' && chain['policy'] === 'drop'
      ? [`${chain['family']} ${chain['table']} ${chain['name']}`]
      : [],
  )
}

type Fields = Readonly<Record<string, unknown>>

/** One object of a listing: a table, a chain, a rule, ... */
interface Listed {
  readonly table?: Fields
  readonly chain?: Fields
  readonly rule?: Fields
}

async function objects(args: readonly string[]): Promise<readonly Listed[]> {
  const { nftables } = JSON.parse(await run(['-j', ...args], '')) as { nftables: Listed[] }
  return nftables
}

function run(args: readonly string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, PATH, LC_ALL: 'C' }
    const options = { timeout: LIMIT_MS, maxBuffer: OUTPUT_MAX_BYTES, env }
    const child = execFile('nft', args, options, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout)
      if (error.code === 'ENOENT') {
        const message = 'the uplink "host" needs the program nft: install the package nftables'
        return reject(new StackError('unsupported', message, { cause: error }))
      }
      const why = stderr.trim().split('\n')[0] || error.message
      reject(new StackError('syscall', `nft ${args.join(' ')}: ${why}`, { cause: error }))
    })
    // It may end before it has read all; how, its exit code says.
    child.stdin!.on('error', () => undefined)
    child.stdin!.end(input)
  })
}
