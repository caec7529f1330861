/**
 * A CNI plugin: one process a call, which asks a running daemon to attach a container.
 *
 * ```text
 *   runtime ── environment, stdin ──> plugin ── unix socket ──> daemon ──> network, TAP
 *           <── result on stdout ────        <── attachment ───
 * ```
 *
 * ADD attaches; DEL detaches and is harmless where there is nothing; CHECK compares, and looks
 * inside; GC detaches what the runtime no longer knows; STATUS says whether ADD could work; VERSION
 * what we speak. All that lasts is the daemon's.
 */
import { StackError } from '../../stack/errors.ts'
import type { Attachment, AttachRequest } from '../attachments.ts'
import { Client } from '../client.ts'
import { findSocket } from '../sockets.ts'
import type { Listing } from '../views.ts'
import {
  CniError,
  Code,
  type Conf,
  type Environment,
  type Json,
  NEWEST,
  type PortMapping,
  readConf,
  readEnvironment,
  VERSIONS,
  type Version,
} from './conf.ts'
import { delegate, delegateAdd } from './delegate.ts'
import { addResult, errorResult, resultOf } from './result.ts'

export interface Outcome {
  readonly exitCode: number
  /** For stdout; undefined: nothing. */
  readonly output: Json | undefined
}

/** Do one call. Never throws: what goes wrong is an outcome. */
export async function runPlugin(
  env: Readonly<Record<string, string | undefined>>,
  stdin: string,
): Promise<Outcome> {
  let version: Version | undefined
  try {
    const environment = readEnvironment(env)
    if (environment.command === 'VERSION') return { exitCode: 0, output: versions(stdin) }
    const conf = readConf(stdin)
    version = conf.version
    return { exitCode: 0, output: await answer(environment, conf) }
  } catch (error) {
    const cni = error instanceof CniError ? error : explain(error)
    return { exitCode: 1, output: errorResult(cni, version) }
  }
}

function versions(stdin: string): Json {
  const asked = stdin.trim() === '' ? undefined : readVersion(stdin)
  return { cniVersion: asked ?? NEWEST, supportedVersions: VERSIONS }
}

function readVersion(stdin: string): unknown {
  try {
    return (JSON.parse(stdin) as Json)['cniVersion']
  } catch (error) {
    throw new CniError(Code.Decode, 'the request is not JSON', String(error))
  }
}

async function answer(environment: Environment, conf: Conf): Promise<Json | undefined> {
  switch (environment.command) {
    case 'ADD':
      return await add(environment, conf)
    case 'DEL':
      return await remove(environment, conf)
    case 'CHECK':
      return await check(environment, conf)
    case 'GC':
      return await collect(environment, conf)
    default:
      return await status(environment, conf)
  }
}

async function add({ containerId: id, ...rest }: Environment, conf: Conf): Promise<Json> {
  const client = await open(conf)
  const given = conf.ipam === undefined ? conf.ips : await delegateAdd(conf, rest.path)
  const { bandwidth } = conf
  const request: Omit<AttachRequest, 'ingress' | 'egress'> & { ingress: unknown; egress: unknown } =
    {
      id,
      interfaceName: rest.interfaceName,
      netns: rest.netns,
      network: conf.network,
      owner: ownerOf(conf),
      addresses: given,
      mac: conf.mac,
      mtuBytes: conf.mtuBytes,
      ports: conf.ports.flatMap(port),
      aliases: conf.aliases,
      ingress: rate(bandwidth?.ingressRate, bandwidth?.ingressBurst),
      egress: rate(bandwidth?.egressRate, bandwidth?.egressBurst),
    }
  try {
    const made = await client.post<Attachment>('attachments/add', request)
    return addResult(made, conf.version, conf.dns)
  } catch (error) {
    if (conf.ipam !== undefined) await delegate('DEL', conf, rest.path).catch(() => undefined)
    throw error
  }
}

/** What is not there is as good as taken away, be it the whole daemon. */
async function remove(environment: Environment, conf: Conf): Promise<undefined> {
  const { containerId: id, interfaceName, path } = environment
  const client = await open(conf).catch((error: CniError) => {
    if (error.code !== Code.Again) throw error
    return undefined
  })
  await client?.post('attachments/remove', { id, interfaceName })
  if (conf.ipam !== undefined) await delegate('DEL', conf, path)
  return undefined
}

async function check(environment: Environment, conf: Conf): Promise<undefined> {
  const { containerId: id, interfaceName, netns, path } = environment
  if (conf.previous === undefined) throw new CniError(Code.Config, '"prevResult" is missing')
  const client = await open(conf)
  const all = await client.get<readonly Attachment[]>('attachments', { network: conf.network })
  const found = all.find((one) => one.id === id && one.interfaceName === interfaceName)
  const name = `${id}/${interfaceName}`
  if (found === undefined) throw new CniError(Code.Container, `${name} is not attached`)
  if (found.state !== 'up') throw new CniError(Code.Failed, `the interface of ${name} is gone`)
  if (found.netns !== netns) {
    throw new CniError(Code.Failed, `${name} is attached in ${found.netns}, not in ${netns}`)
  }
  const { ips, macs } = resultOf(conf.previous)
  for (const { address } of found.addresses) {
    if (ips.includes(address)) continue
    throw new CniError(Code.Failed, `${name} has ${address}, which "prevResult" has not`)
  }
  if (macs.length > 0 && !macs.includes(found.mac)) {
    throw new CniError(Code.Failed, `${name} has MAC ${found.mac}, which "prevResult" has not`)
  }
  const own = { id, interfaceName }
  const { faults } = await client.post<{ faults: readonly string[] }>('attachments/check', own)
  if (faults.length > 0) throw new CniError(Code.Failed, `${name}: ${faults.join('; ')}`)
  if (conf.ipam !== undefined) await delegate('CHECK', conf, path)
  return undefined
}

async function collect({ path }: Environment, conf: Conf): Promise<undefined> {
  if (conf.valid === undefined) {
    throw new CniError(Code.Config, '"cni.dev/valid-attachments" is missing')
  }
  const client = await open(conf)
  await client.post('attachments/collect', { owner: ownerOf(conf), valid: conf.valid })
  if (conf.ipam !== undefined) await delegate('GC', conf, path)
  return undefined
}

async function status({ path }: Environment, conf: Conf): Promise<undefined> {
  try {
    const client = await open(conf)
    const { networks } = await client.get<Listing>('ls')
    if (!networks.some(({ name }) => name === conf.network)) {
      throw new CniError(Code.Unavailable, `the daemon has no network "${conf.network}"`)
    }
  } catch (error) {
    const { message } = error as Error
    throw new CniError(Code.Unavailable, message)
  }
  if (conf.ipam !== undefined) await delegate('STATUS', conf, path)
  return undefined
}

/** Attachments of one configuration, for GC. */
function ownerOf({ name }: Conf): string {
  return `cni:${name}`
}

/** @throws CniError `Again`: there is no daemon now. */
async function open({ socket, daemon }: Conf): Promise<Client> {
  try {
    const found = await findSocket({
      socket: socket ?? process.env['TAPLINE_SOCKET'],
      name: daemon,
    })
    const client = new Client(found)
    await client.get('daemon')
    return client
  } catch (error) {
    throw new CniError(Code.Again, (error as Error).message)
  }
}

function port({ hostPort, containerPort, protocol, hostIP }: PortMapping): string[] {
  if (hostPort === 0) return []
  const host = hostIP === '' ? '' : `${hostIP.includes(':') ? `[${hostIP}]` : hostIP}:`
  return [`${host}${hostPort}:${containerPort}/${protocol}`]
}

/** A burst is so many bits; ours is the time in which the rate earns them. */
function rate(bitsPerS = 0, burstBits = 0): object | undefined {
  if (bitsPerS === 0) return undefined
  const burstMs = Math.min(60_000, Math.max(1, (burstBits / bitsPerS) * 1000))
  return { bitsPerS, burstMs: burstBits === 0 ? 250 : burstMs }
}

/** An error of the daemon's in the codes of the specification. */
function explain(error: unknown): CniError {
  const { message } = error as Error
  if (!(error instanceof StackError)) return new CniError(Code.Failed, message)
  const codes: Readonly<Record<string, number>> = {
    'bad-argument': Code.Config,
    'bad-address': Code.Config,
    'bad-config': Code.Config,
    'not-found': Code.Config,
    exhausted: Code.Exhausted,
    exists: Code.Exists,
    daemon: Code.Again,
  }
  return new CniError(codes[error.code] ?? Code.Failed, message)
}
