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

/** Where Docker has its users put their rules; its chains for forwarding ask it first. */
const USER_CHAIN = 'DOCKER-USER'

/**
 * Chains, of whoever, that forwarding goes through and that drop what no rule of theirs took, and
 * have no rules that accept both what comes from and what goes to an interface.
 */
export async function droppingForward(interfaceName: string): Promise<string[]> {
  const dropping: string[] = []
  for (const { chain } of await objects(['list', 'chains'])) {
    if (chain?.['hook'] !== 'forward' || chain['policy'] !== 'drop') continue
    const [family, table, name] = [chain['family'], chain['table'], chain['name']].map(String)
    // Gone meanwhile, or too long to read: then it is not known to accept.
    const list = await objects(['list', 'table', family!, table!]).catch(() => [])
    const asked = list.filter(({ rule }) => [name, USER_CHAIN].includes(String(rule?.['chain'])))
    const isAccepted = ['iifname', 'oifname'].every((key) =>
      asked.some(({ rule }) => acceptsAll(rule!, key, interfaceName)),
    )
    if (!isAccepted) dropping.push(`${family} ${table} ${name}`)
  }
  return dropping
}

/**
 * True of a rule that accepts by one interface's name, and asks for nothing else. A statement that
 * nft has no JSON for is a text.
 */
function acceptsAll({ expr }: Fields, key: string, interfaceName: string): boolean {
  const all = Array.isArray(expr) ? (expr as Fields[]) : []
  if (!all.every((one) => typeof one === 'object' && one !== null)) return false
  const told = all.filter((one) => !('counter' in one))
  const match = told[0]?.['match'] as Fields | undefined
  const left = match?.['left'] as { readonly meta?: Fields } | undefined
  return (
    told.length === 2 &&
    'accept' in told[1]! &&
    match?.['op'] === '==' &&
    match['right'] === interfaceName &&
    left?.meta?.['key'] === key
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
