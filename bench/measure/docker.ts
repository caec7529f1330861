/**
 * What a user of Docker waits for: from `docker run -d` of a web server to its first reply, asked
 * from another container of the network. And what a published port is to the host itself.
 */
import { join } from 'node:path'
import type { Bed } from '../bed.ts'
import type { FirstReply } from '../first_reply.ts'
import { inNetns } from '../netns.ts'
import type { Options } from '../options.ts'
import type { DockerMachine } from '../peers/docker_machine.ts'
import type { Metrics } from '../questions.ts'
import { run } from '../shell.ts'
import { iperfArguments, parseIperf, SPARE_MS } from './tcp.ts'

const SERVER = ['httpd', '-f', '-p', '80', '-h', '/www']
const SCRIPT = join(import.meta.dirname, '..', 'first_reply.js')
/** Addresses take turns, so that each one is new to whoever asks. */
const FIRST_HOST = 100
const HOSTS = 100

interface Where {
  readonly machine: DockerMachine
  /** Of the container that asks. */
  readonly netns: string
  readonly network: string
  /** Of the network's addresses: three octets. */
  readonly prefix: string
}

/** A trial: one container, from nothing to its reply and away again. */
export function measureFirstReply(where: Where): () => Promise<Metrics> {
  const { machine, netns, network, prefix } = where
  let count = 0
  return async () => {
    const address = `${prefix}.${FIRST_HOST + (count++ % HOSTS)}`
    const name = `${network}-${address}`.replaceAll('.', '-')
    const args = ['--name', name, '--network', network, '--ip', address]
    const command = machine.startCommand(args, SERVER)
    const out = await run(inNetns(netns, [process.execPath, SCRIPT, address, ...command]))
    const { startMs, replyMs } = JSON.parse(out) as FirstReply
    const fromMs = performance.now()
    await machine.docker('rm', '-f', name)
    return { replyMs, startMs, removeMs: performance.now() - fromMs }
  }
}

/** Bulk TCP from the host itself to a port that it publishes at a loopback address. */
export async function measureLocal(bed: Bed, options: Options): Promise<Metrics> {
  const argv = iperfArguments(bed.loopback, options, { streams: 1, bothWays: false })
  const limitMs = (options.seconds + options.warmUpSeconds) * 1000 + SPARE_MS
  return parseIperf(await run(bed.hostCommand(argv), limitMs))
}
