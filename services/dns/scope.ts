/**
 * Who asks: one sandbox, the networks whose names it may see, and how names that are not ours are
 * asked for in its stead.
 */
import { TokenBucket } from '../../stack/ip/token_bucket.ts'
import type { SandboxDns } from '../config/dns_model.ts'
import type { Name } from './name.ts'
import { Entry, type NetworkNames } from './names.ts'

/** A sandbox that shares a network with nobody still has its own settings. */
export const NO_SETTINGS: Omit<SandboxDns, 'sandbox'> = {
  servers: [],
  search: [],
  options: [],
  hosts: [],
}

/** Scopes made so far. */
let made = 0

export class Scope {
  /** No other scope ever has it. */
  readonly serial: number = ++made
  readonly sandbox: string
  /** Where its own forwarders are asked from; undefined: from the process's namespace. */
  netns: string | undefined
  /** In the order in which it joined. */
  readonly networks: NetworkNames[] = []
  settings: Omit<SandboxDns, 'sandbox'> = NO_SETTINGS
  /** Names that this sandbox alone knows (`extra_hosts`). */
  readonly hosts: Map<Name, Entry> = new Map()
  /** How many queries it may still ask. */
  budget: TokenBucket
  /** Queries of it that wait for a forwarder. */
  waiting = 0
  asked = 0

  constructor(sandbox: string, queriesPerS: number) {
    this.sandbox = sandbox
    this.budget = budgetOf(queriesPerS)
  }

  setRate(queriesPerS: number): void {
    this.budget = budgetOf(queriesPerS)
  }

  configure(settings: Omit<SandboxDns, 'sandbox'>): void {
    this.settings = settings
    this.hosts.clear()
    for (const { name, address } of settings.hosts) {
      const entry = this.hosts.get(name) ?? new Entry(name)
      const members = [{ target: name, addresses: [address], weight: 1 }]
      entry.sources.push({ kind: 'sandbox', isVirtual: false, members, ports: [], texts: [] })
      this.hosts.set(name, entry)
    }
  }

  /** False: it is on internal networks only, or on none; nothing of it may be heard outside. */
  get mayForward(): boolean {
    return this.networks.some(({ internal }) => !internal)
  }

  /** `ndots` as its options say it; Docker's default is 0. */
  get ndots(): number {
    const written = this.settings.options.findLast((option) => option.startsWith('ndots:'))
    return written === undefined ? 0 : Number(written.slice('ndots:'.length))
  }
}

/** A second's worth at once: programs ask in bursts. */
function budgetOf(queriesPerS: number): TokenBucket {
  return new TokenBucket({ perS: queriesPerS, burst: queriesPerS })
}
