/**
 * `tapline capture`: frames of a running daemon, as a pcapng file, into a pipe, or as lines.
 *
 * Filter and snap length work in the daemon, so that only what is wanted crosses the socket. The
 * stream is pcapng in every case; without `-w` it is read here and summarised.
 */
import { once } from 'node:events'
import { closeSync, openSync, writeSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { StackError } from '../../stack/errors.ts'
import type { CapturedFrame } from '../../stack/eth/pcapng_reader.ts'
import {
  collect,
  type DaemonOptions,
  examples,
  integer,
  openClient,
  readingCommand,
} from './command.ts'
import { timeOfDay } from './output.ts'

interface CaptureOptions extends DaemonOptions {
  readonly interface: readonly string[]
  readonly write?: string
  readonly count?: number
  readonly snaplen?: number
}

export function addCapture(program: Command): void {
  readingCommand(program, 'capture [filter...]', 'show or save the frames that devices see')
    .addOption(
      new Option('-i, --interface <device>', 'a device such as web1/eth0; may be repeated')
        .default([], 'all')
        .argParser(collect),
    )
    .option('-w, --write <file>', 'write pcapng to this file; - for stdout')
    .option('-c, --count <frames>', 'stop after so many frames', integer(1, 2 ** 31))
    .option('-s, --snaplen <octets>', 'keep so many octets of each frame', integer(1, 262_144))
    .addHelpText(
      'after',
      `\nThe filter is a part of pcap-filter(7): host, net, port, portrange, proto, ether, vlan,
arp, ip, ip6, icmp, icmp6, tcp, udp, broadcast, multicast, less, greater, and, or, not, ( ).
${examples(
  'tapline capture',
  'tapline capture -i web1/eth0 tcp port 80 and host 10.1.0.12',
  'tapline capture --json icmp',
  'tapline capture -w web.pcapng -c 1000',
  'tapline capture -w - | wireshark -k -i -',
)}`,
    )
    .action(capture)
}

async function capture(words: readonly string[], options: CaptureOptions): Promise<void> {
  const { json = false } = options
  if (json && options.write !== undefined) {
    throw new StackError('bad-argument', '-w writes pcapng: it does not go with --json')
  }
  const filter = words.join(' ')
  const { parseFilter, PcapngReader, summarize } = await loadReaders()
  parseFilter(filter)
  const client = await openClient(options)
  const sink = options.write === undefined ? undefined : openSink(options.write)
  const stream = await client.stream('capture', {
    device: options.interface,
    filter,
    count: options.count,
    snaplen: options.snaplen,
  })
  let interrupted = false
  const stop = (): void => {
    interrupted = true
    stream.close()
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  const reader = new PcapngReader()
  let frames = 0
  try {
    for await (const chunk of stream.body as AsyncIterable<Uint8Array>) {
      await sink?.write(chunk)
      reader.push(chunk)
      for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
        frames++
        const { bytes } = frame
        const say = json ? jsonLine : line
        if (sink === undefined) await writeOut(say(frame, summarize(bytes, 0, bytes.length)))
        if (frame.comment !== undefined) process.stderr.write(`tapline: ${frame.comment}\n`)
      }
    }
  } catch (error) {
    if (error instanceof StackError) throw error
    if (!interrupted) throw new StackError('daemon', 'the daemon hung up', { cause: error })
  } finally {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
    sink?.close()
  }
  process.stderr.write(`${frames} frame${frames === 1 ? '' : 's'} captured\n`)
}

/** What no other command needs. */
async function loadReaders() {
  const [{ PcapngReader }, { parseFilter }, { summarize }] = await Promise.all([
    import('../../stack/eth/pcapng_reader.ts'),
    import('../capture/filter.ts'),
    import('../capture/summary.ts'),
  ])
  return { PcapngReader, parseFilter, summarize }
}

interface Sink {
  write(bytes: Uint8Array): Promise<void>
  close(): void
}

/** Waits for a slow reader, so that the daemon sees it and leaves frames out rather than grow. */
async function writeOut(data: Uint8Array | string): Promise<void> {
  if (!process.stdout.write(data)) await once(process.stdout, 'drain')
}

function openSink(file: string): Sink {
  if (file === '-') {
    if (process.stdout.isTTY) {
      throw new StackError('bad-argument', 'stdout is a terminal: give it a pipe, or name a file')
    }
    return { write: writeOut, close: () => undefined }
  }
  let descriptor: number
  try {
    descriptor = openSync(file, 'w')
  } catch (error) {
    throw new StackError('syscall', (error as Error).message, { cause: error })
  }
  return {
    write: async (bytes) => {
      try {
        for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at)
      } catch (error) {
        throw new StackError('syscall', `${file}: ${(error as Error).message}`, { cause: error })
      }
    },
    close: () => closeSync(descriptor),
  }
}

/** `12:34:56.789012 web1/eth0 In  IP 10.1.0.11 > 10.1.0.12: ICMP echo request, ...` */
function line({ timeUs, direction, ...frame }: CapturedFrame, text: string): string {
  const where = direction === undefined ? '' : direction === 'in' ? 'In ' : 'Out'
  return `${timeText(timeUs)} ${frame.interface.name} ${where} ${text}\n`
}

/** The same for programs: one object a line. */
function jsonLine({ timeUs, direction, ...frame }: CapturedFrame, summary: string): string {
  const { originalBytes: bytes, interface: at } = frame
  const row = { timeUs, device: at.name, direction: direction ?? null, bytes, summary }
  return `${JSON.stringify(row)}\n`
}

/** Local time of day to the microsecond. */
function timeText(timeUs: number): string {
  const micros = String(Math.floor(timeUs % 1_000_000)).padStart(6, '0')
  return `${timeOfDay(new Date(timeUs / 1000))}.${micros}`
}
