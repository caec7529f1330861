/**
 * `tapline trace`: what would happen to a packet, element by element, and why. Nothing is sent.
 *
 * With `--expect` it is a test that a script can run: does this packet arrive, or is it dropped?
 */
import { type Command, Option } from 'commander'
import { StackError } from '../../stack/errors.ts'
import type { TraceEnd } from '../../stack/trace.ts'
import type { TraceResult } from '../trace.ts'
import type { TraceProtocol, TraceRequest } from '../trace_request.ts'
import {
  type DaemonOptions,
  Exit,
  ExitError,
  examples,
  integer,
  openClient,
  readingCommand,
} from './command.ts'
import { complain, print, printable, printJson, style } from './output.ts'
import { table } from './table.ts'

interface TraceOptions extends DaemonOptions {
  readonly from: string
  readonly to?: string
  readonly source?: string
  readonly proto?: TraceProtocol | 'arp'
  readonly sport?: number
  readonly dport?: number
  readonly size?: number
  readonly ttl?: number
  readonly df: boolean
  readonly raw?: string
  readonly expect?: TraceEnd['verdict']
}

export function addTrace(program: Command): void {
  readingCommand(program, 'trace', 'say what would happen to a packet, step by step, and why')
    .requiredOption('--from <sandbox>', 'where it begins: web1, web1/eth0, or uplink for outside')
    .option('--source <address>', 'who sends it (default: the sandbox; outside, the gateway)')
    .option('--to <address>', 'whom it is for, an IPv4 or IPv6 address')
    .addOption(
      new Option('--proto <protocol>', 'what it is (default: icmp, an echo request)').choices([
        'icmp',
        'udp',
        'tcp',
        'sctp',
        'arp',
      ]),
    )
    .option('--sport <port>', 'source port', integer(0, 65_535))
    .option('--dport <port>', 'destination port', integer(0, 65_535))
    .option('--size <octets>', 'payload', integer(0, 65_515))
    .option('--ttl <hops>', 'TTL or hop limit', integer(0, 255))
    .option('--no-df', 'let IPv4 be fragmented (default: it must not)')
    .option('--raw <hex>', 'a whole Ethernet frame instead')
    .addOption(
      new Option('--expect <verdict>', 'exit 1 unless every copy ends so').choices([
        'transmitted',
        'dropped',
        'consumed',
        'queued',
      ]),
    )
    .addHelpText(
      'after',
      `\n${'--proto arp'} traces the question for the MAC of --to, an ARP request or a neighbor
solicitation.
${examples(
  'tapline trace --from web1 --to 10.2.0.12',
  'tapline trace --from web1 --to 10.2.0.12 --proto tcp --dport 80 --expect transmitted',
  'tapline trace --from web1 --to 10.2.0.12 --size 1472 --ttl 1',
  'tapline trace --from uplink --source 192.0.2.9 --to 203.0.113.2 --proto udp --dport 53',
  'tapline trace --from web1/eth0 --raw "ffffffffffff 02420a01000b 0806 ..."',
)}`,
    )
    .action(trace)
}

async function trace(options: TraceOptions): Promise<void> {
  const request = toRequest(options)
  const client = await openClient(options)
  const result = await client.post<TraceResult>('trace', request)
  if (options.json) printJson(result)
  else print(traceLines(result))
  const { expect } = options
  if (expect === undefined || result.ends.every(({ verdict }) => verdict === expect)) return
  complain(`expected ${expect}`)
  throw new ExitError(Exit.Failed)
}

function toRequest(options: TraceOptions): TraceRequest {
  const { from, to, proto, raw, df } = options
  if ((to === undefined) === (raw === undefined)) {
    throw new StackError('bad-argument', 'trace wants --to or --raw, one of them')
  }
  const { source, sport, dport, size, ttl } = options
  return {
    from,
    df,
    ...(to !== undefined && { to }),
    ...(source !== undefined && { source }),
    ...(raw !== undefined && { raw }),
    ...(proto === 'arp' ? { arp: true } : proto !== undefined && { proto }),
    ...(sport !== undefined && { sport }),
    ...(dport !== undefined && { dport }),
    ...(size !== undefined && { size }),
    ...(ttl !== undefined && { ttl }),
  }
}

/** Steps in a table, then how each copy ends. */
export function traceLines({ from, steps, ends }: TraceResult): string[] {
  const [, ...lines] = table(
    [
      { title: '', cell: ({ number }) => number, right: true },
      { title: '', cell: ({ element }) => element },
      { title: '', cell: ({ text }) => text },
    ],
    steps.map((step, i) => ({ ...step, number: i + 1 })),
  )
  return [`from ${printable(from)}`, ...lines, ...ends.map(endLine)]
}

const COLORS = { transmitted: 'green', dropped: 'red', consumed: 'cyan', queued: 'yellow' } as const

function endLine({ verdict, detail }: TraceEnd): string {
  const words = { transmitted: 'by', dropped: 'for', consumed: 'by the node:', queued: '' }[verdict]
  return `${style(COLORS[verdict], verdict)} ${words} ${printable(detail)}`.replace('  ', ' ')
}
