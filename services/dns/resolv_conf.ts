/** The text of a resolv.conf(5), both ways. */
import { type Address, formatAddress, parseAddress } from '../../stack/address.ts'
import type { HostResolvers } from './host.ts'

/** First line of files that are ours: what begins otherwise is somebody else's, and stays. */
export const MARK = '# Made by tapline'
/** What resolvers of C libraries read of a file (resolv.conf(5)). */
const SERVERS_MAX = 3

/** What a resolv.conf says; what is not understood is left out, as C libraries do. */
export function parseResolvConf(text: string): HostResolvers {
  const servers: Address[] = []
  let search: readonly string[] = []
  for (const line of text.split('\n')) {
    const [key, ...words] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/)
    if (key === 'nameserver' && words[0] !== undefined) {
      const address = tryAddress(words[0])
      if (address !== undefined && servers.length < SERVERS_MAX) servers.push(address)
    } else if (key === 'search') search = words
    else if (key === 'domain') search = words.slice(0, 1)
  }
  return { servers, search }
}

/** Link-local addresses with a zone are none: it means nothing elsewhere. */
export function tryAddress(text: string): Address | undefined {
  try {
    return parseAddress(text)
  } catch {
    return undefined
  }
}

export interface ResolvConf {
  readonly servers: readonly Address[]
  readonly search: readonly string[]
  readonly options: readonly string[]
}

export function formatResolvConf({ servers, search, options }: ResolvConf): string {
  const lines = [
    MARK,
    ...servers.slice(0, SERVERS_MAX).map((s) => `nameserver ${formatAddress(s)}`),
  ]
  if (search.length > 0) lines.push(`search ${search.join(' ')}`)
  if (options.length > 0) lines.push(`options ${options.join(' ')}`)
  return `${lines.join('\n')}\n`
}
