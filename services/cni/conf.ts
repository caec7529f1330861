/**
 * What a container runtime says to a CNI plugin: environment variables, and a network's
 * configuration on stdin (CNI specification 1.1.0, sections 1 and 2).
 *
 * Read by hand, without the libraries that the daemon uses: a plugin is a process a call, and half
 * of its time would be theirs.
 */

/** Versions of results that can be told, oldest first. */
export const VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const
export type Version = (typeof VERSIONS)[number]
export const NEWEST: Version = '1.1.0'

/** Codes of the specification, section 5; from 100 on, our own. */
export const Code = {
  Version: 1,
  Field: 2,
  Container: 3,
  Environment: 4,
  Io: 5,
  Decode: 6,
  Config: 7,
  Again: 11,
  Unavailable: 50,
  Exhausted: 100,
  Exists: 101,
  Failed: 102,
} as const

export class CniError extends Error {
  readonly code: number
  readonly details: string

  constructor(code: number, message: string, details = '') {
    super(message)
    this.code = code
    this.details = details
  }
}

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'STATUS', 'GC', 'VERSION'] as const
export type Command = (typeof COMMANDS)[number]

/** Parameters that the environment gives. Empty where a command does without. */
export interface Environment {
  readonly command: Command
  readonly containerId: string
  readonly netns: string
  readonly interfaceName: string
  /** Folders of plugins. */
  readonly path: readonly string[]
}

export interface PortMapping {
  readonly hostPort: number
  readonly containerPort: number
  readonly protocol: string
  readonly hostIP: string
}

export interface Dns {
  readonly nameservers: readonly string[]
  readonly domain: string
  readonly search: readonly string[]
  readonly options: readonly string[]
}

/** Bits a second, and bits; 0: no limit. */
export interface Bandwidth {
  readonly ingressRate: number
  readonly ingressBurst: number
  readonly egressRate: number
  readonly egressBurst: number
}

/** One network's configuration, with what the runtime adds to it. */
export interface Conf {
  readonly version: Version
  readonly name: string
  /** Name of the network of the daemon. */
  readonly network: string
  /** Name of the daemon; undefined: the only one that runs. */
  readonly daemon: string | undefined
  /** Its socket; undefined: by its name. */
  readonly socket: string | undefined
  readonly mtuBytes: number | undefined
  /** Plugin that gives addresses; undefined: the daemon does. */
  readonly ipam: string | undefined
  readonly dns: Dns
  readonly ips: readonly string[]
  readonly mac: string | undefined
  readonly ports: readonly PortMapping[]
  readonly aliases: readonly string[]
  readonly bandwidth: Bandwidth | undefined
  readonly previous: Json | undefined
  /** `ID/INTERFACE` of those that are to stay; undefined: it is no GC. */
  readonly valid: readonly string[] | undefined
  /** As it came, for plugins that are asked on. */
  readonly text: string
}

export type Json = Readonly<Record<string, unknown>>

/** Those that need a container, and those that need its namespace too. */
const OF_CONTAINER: readonly Command[] = ['ADD', 'DEL', 'CHECK']
const OF_NETNS: readonly Command[] = ['ADD', 'CHECK']

/** @throws CniError `Environment`. */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): Environment {
  const command = COMMANDS.find((name) => name === env['CNI_COMMAND'])
  if (command === undefined) {
    const message = `CNI_COMMAND is "${env['CNI_COMMAND'] ?? ''}", not one of`
    throw new CniError(Code.Environment, `${message} ${COMMANDS.join(', ')}`)
  }
  const containerId = env['CNI_CONTAINERID'] ?? ''
  const netns = env['CNI_NETNS'] ?? ''
  const interfaceName = env['CNI_IFNAME'] ?? ''
  if (OF_CONTAINER.includes(command)) {
    if (!/^[a-z0-9][\w.-]{0,254}$/i.test(containerId)) {
      throw new CniError(Code.Environment, `CNI_CONTAINERID "${containerId}" is not an ID`)
    }
    const bad = /^(\.{1,2}|lo|all|default)$|[/:\s]/.test(interfaceName) || interfaceName.length > 15
    if (interfaceName === '' || bad) {
      throw new CniError(Code.Environment, `CNI_IFNAME "${interfaceName}" is no interface's`)
    }
  }
  if (OF_NETNS.includes(command) && !netns.startsWith('/')) {
    throw new CniError(Code.Environment, `CNI_NETNS "${netns}" is not a path`)
  }
  const path = (env['CNI_PATH'] ?? '').split(':').filter((folder) => folder !== '')
  return { command, containerId, netns, interfaceName, path }
}

/** @throws CniError `Decode`, `Version`, `Config`. */
export function readConf(text: string): Conf {
  const conf = parse(text)
  const version = VERSIONS.find((known) => known === conf['cniVersion'])
  if (version === undefined) {
    const message = `cniVersion "${String(conf['cniVersion'] ?? '')}" is not one of`
    throw new CniError(Code.Version, `${message} ${VERSIONS.join(', ')}`)
  }
  const name = string(conf, 'name')
  if (name === undefined) throw new CniError(Code.Config, 'the configuration has no "name"')
  const runtime = object(conf, 'runtimeConfig') ?? {}
  const ipam = object(conf, 'ipam') ?? {}
  const valid = conf['cni.dev/valid-attachments'] ?? conf['cni.dev/attachments']
  return {
    version,
    name,
    network: string(conf, 'network') ?? name,
    daemon: string(conf, 'daemon'),
    socket: string(conf, 'socket'),
    mtuBytes: number(conf, 'mtu'),
    ipam: string(ipam, 'type'),
    dns: readDns(object(conf, 'dns') ?? {}, object(runtime, 'dns') ?? {}),
    ips: strings(runtime, 'ips'),
    mac: string(runtime, 'mac'),
    ports: objects(runtime, 'portMappings').map(readPort),
    aliases: readAliases(runtime, name),
    bandwidth: readBandwidth(object(runtime, 'bandwidth')),
    previous: object(conf, 'prevResult'),
    valid: valid === undefined ? undefined : readValid(valid),
    text,
  }
}

function readPort(port: Json): PortMapping {
  return {
    hostPort: number(port, 'hostPort') ?? 0,
    containerPort: number(port, 'containerPort') ?? 0,
    protocol: string(port, 'protocol') ?? 'tcp',
    hostIP: string(port, 'hostIP') ?? '',
  }
}

/** What the runtime says comes first; its names are Docker's, not those of results. */
function readDns(own: Json, runtime: Json): Dns {
  const first = (a: readonly string[], b: readonly string[]) => (a.length > 0 ? a : b)
  return {
    nameservers: first(strings(runtime, 'servers'), strings(own, 'nameservers')),
    domain: string(own, 'domain') ?? '',
    search: first(strings(runtime, 'searches'), strings(own, 'search')),
    options: first(strings(runtime, 'options'), strings(own, 'options')),
  }
}

/** A list, or, as Podman has it, lists by network. */
function readAliases(runtime: Json, name: string): readonly string[] {
  const { aliases } = runtime
  if (aliases === undefined || aliases === null || Array.isArray(aliases)) {
    return strings(runtime, 'aliases')
  }
  return strings(asObject(aliases, 'aliases'), name)
}

function readBandwidth(entry: Json | undefined): Bandwidth | undefined {
  if (entry === undefined) return undefined
  return {
    ingressRate: number(entry, 'ingressRate') ?? 0,
    ingressBurst: number(entry, 'ingressBurst') ?? 0,
    egressRate: number(entry, 'egressRate') ?? 0,
    egressBurst: number(entry, 'egressBurst') ?? 0,
  }
}

function readValid(value: unknown): string[] {
  if (!Array.isArray(value)) {
    throw new CniError(Code.Config, '"cni.dev/valid-attachments" is not a list')
  }
  return value.map((entry) => {
    const one = asObject(entry, 'cni.dev/valid-attachments')
    return `${string(one, 'containerID') ?? ''}/${string(one, 'ifname') ?? ''}`
  })
}

function parse(text: string): Json {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new CniError(Code.Decode, 'the configuration is not JSON', String(error))
  }
  return asObject(value, 'the configuration')
}

function asObject(value: unknown, what: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
  throw new CniError(Code.Config, `"${what}" is not an object`)
}

function object(from: Json, key: string): Json | undefined {
  const value = from[key]
  return value === undefined || value === null ? undefined : asObject(value, key)
}

function string(from: Json, key: string): string | undefined {
  const value = from[key]
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value === 'string') return value
  throw new CniError(Code.Config, `"${key}" is not a string`)
}

function number(from: Json, key: string): number | undefined {
  const value = from[key]
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value
  throw new CniError(Code.Config, `"${key}" is not a number from 0 on`)
}

function list(from: Json, key: string): readonly unknown[] {
  const value = from[key]
  if (value === undefined || value === null) return []
  if (Array.isArray(value)) return value
  throw new CniError(Code.Config, `"${key}" is not a list`)
}

/** A list of objects. @throws CniError `Config`. */
export function objects(from: Json, key: string): readonly Json[] {
  return list(from, key).map((value) => asObject(value, key))
}

function strings(from: Json, key: string): readonly string[] {
  return list(from, key).map((value) => {
    if (typeof value === 'string') return value
    throw new CniError(Code.Config, `"${key}" is not a list of strings`)
  })
}
