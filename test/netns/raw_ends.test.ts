/**
 * The ends that speak TCP by themselves (bench/raw), against the kernel: it opens their
 * connections, answers them, and has nothing left over when all is said, also where a part of what
 * is sent is lost.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'

const DIST = join(import.meta.dirname, '..', '..', 'dist', 'bench')
const CLIENT = `tlr${process.pid}-c`
const SERVER = `tlr${process.pid}-s`
const ADDRESS = '10.77.9.2'
const PORT = 9002
const hasNft = spawnSync('nft', ['--version']).status === 0
const { CI } = process.env

function ip(...argv: string[]): string {
  const { status, stdout, stderr } = spawnSync('ip', argv, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${argv.join(' ')}: ${stderr}`)
  return stdout
}

const nft = (netns: string, text: string): string => ip('netns', 'exec', netns, 'nft', text)

/** As `silence` of the benchmark does. */
function silence(netns: string, match: string): void {
  nft(netns, 'add table netdev raw')
  nft(netns, 'add chain netdev raw in { type filter hook ingress device eth0 priority 0; }')
  nft(netns, `add rule netdev raw in tcp ${match} ${PORT} drop`)
}

/** Nobody is here. */
const LOST_PORT = 9003

/**
 * One of twenty segments that the kernel of `netns` receives or sends is lost. What it sends goes
 * to or from (`side`) another port instead: of a segment that is dropped before it is out, the
 * kernel knows, and gives a half-open connection up.
 */
function lose(netns: string, side: 'dport' | 'sport'): void {
  nft(netns, 'add table ip loss')
  for (const hook of ['input', 'output']) {
    nft(netns, `add chain ip loss ${hook} { type filter hook ${hook} priority 0; }`)
  }
  const some = 'numgen random mod 20 0'
  nft(netns, `add rule ip loss input meta l4proto tcp ${some} drop`)
  nft(netns, `add rule ip loss output tcp ${side} ${PORT} ${some} tcp ${side} set ${LOST_PORT}`)
}

let server: ChildProcess | undefined

async function serve(script: string, ...argv: string[]): Promise<void> {
  const words = ['netns', 'exec', SERVER, process.execPath, join(DIST, script), 'serve', ...argv]
  const child = spawn('ip', words)
  server = child
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve())
    child.once('close', () => reject(new Error('the server ended')))
  })
}

function open(script: string, slots: number, seconds: number): Record<string, number> {
  const where = [ADDRESS, `${PORT}`, `${slots}`, `${seconds}`]
  return JSON.parse(
    ip('netns', 'exec', CLIENT, process.execPath, join(DIST, script), 'open', ...where),
  )
}

/** TCP sockets of a namespace that neither listen nor only remember. */
function unfinished(netns: string): string[] {
  const argv = ['netns', 'exec', netns, 'ss', '-Htan', 'exclude', 'listening']
  return ip(...argv, 'exclude', 'time-wait')
    .split('\n')
    .filter((line) => line !== '')
}

/** A counter of /proc/net/snmp. */
function tcpCounter(netns: string, name: string): number {
  const text = ip('netns', 'exec', netns, 'cat', '/proc/net/snmp')
  const [names, values] = text.split('\n').filter((line) => line.startsWith('Tcp:'))
  return Number(values!.split(' ')[names!.split(' ').indexOf(name)])
}

describe.runIf(hasNft || CI === 'true')('raw ends (needs nft)', () => {
  beforeAll(() => {
    for (const netns of [CLIENT, SERVER]) ip('netns', 'add', netns)
    ip('-n', CLIENT, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far')
    ip('-n', CLIENT, 'link', 'set', 'far', 'netns', SERVER)
    ip('-n', SERVER, 'link', 'set', 'far', 'name', 'eth0')
    ip('-n', CLIENT, 'addr', 'add', '10.77.9.1/24', 'dev', 'eth0')
    ip('-n', SERVER, 'addr', 'add', `${ADDRESS}/24`, 'dev', 'eth0')
    for (const netns of [CLIENT, SERVER]) ip('-n', netns, 'link', 'set', 'eth0', 'up')
    ip('netns', 'exec', CLIENT, 'ping', '-c1', '-W5', ADDRESS)
  })
  beforeEach(() => {
    for (const netns of [CLIENT, SERVER]) nft(netns, 'flush ruleset')
    return async () => {
      const ended = new Promise((resolve) => server?.once('close', resolve))
      server?.removeAllListeners('close')
      server?.kill()
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 1000))])
    }
  })
  afterAll(() => {
    for (const netns of [CLIENT, SERVER]) ip('netns', 'del', netns)
  })

  it('opens connections to a kernel, which sees each to its end', async () => {
    silence(CLIENT, 'sport')
    await serve('connect.js', `${PORT}`)
    const before = tcpCounter(SERVER, 'PassiveOpens')
    const { done, failed, refused } = open('raw/main.js', 64, 1)
    expect(done).toBeGreaterThan(500)
    expect({ failed, refused }).toEqual({ failed: 0, refused: 0 })
    const opened = tcpCounter(SERVER, 'PassiveOpens') - before
    expect(opened).toBeGreaterThanOrEqual(done!)
    expect(opened).toBeLessThanOrEqual(done! + 64)
    expect(tcpCounter(SERVER, 'InErrs')).toBe(0)
    expect(unfinished(SERVER)).toEqual([])
  })

  it('begins anew where a kernel remembers the port', async () => {
    silence(CLIENT, 'sport')
    await serve('connect.js', `${PORT}`)
    const first = open('raw/main.js', 64, 1)
    // The ports are those of the first run; to be refused each costs half a second.
    const second = open('raw/main.js', 64, 1)
    expect([first['failed'], second['failed']]).toEqual([0, 0])
    expect(second['done']).toBeGreaterThan(500)
  })

  it('answers a kernel, which sees each to its end and remembers few', async () => {
    silence(SERVER, 'dport')
    await serve('raw/main.js', 'eth0', `${PORT}`)
    const { done, failed } = open('connect.js', 64, 1)
    expect(done).toBeGreaterThan(500)
    expect(failed).toBe(0)
    expect(tcpCounter(CLIENT, 'InErrs')).toBe(0)
    expect(unfinished(CLIENT)).toEqual([])
    // Those that were open when the time was over, for the client closed them first.
    const sockets = ip('netns', 'exec', CLIENT, 'ss', '-Htan', 'state', 'time-wait')
    expect(sockets.split('\n').length - 1).toBeLessThanOrEqual(64)
  })

  it('makes good what a kernel loses', async () => {
    silence(CLIENT, 'sport')
    await serve('connect.js', `${PORT}`)
    lose(SERVER, 'sport')
    const { done, failed, resent } = open('raw/main.js', 64, 2)
    expect(done).toBeGreaterThan(100)
    expect(failed).toBe(0)
    expect(resent).toBeGreaterThan(0)
  })

  it('answers again when a kernel asks again', async () => {
    silence(SERVER, 'dport')
    await serve('raw/main.js', 'eth0', `${PORT}`)
    lose(CLIENT, 'dport')
    const { done, failed } = open('connect.js', 64, 3)
    expect(done).toBeGreaterThan(100)
    expect(failed).toBe(0)
  })

  it('speaks to itself', async () => {
    silence(CLIENT, 'sport')
    silence(SERVER, 'dport')
    await serve('raw/main.js', 'eth0', `${PORT}`)
    const { done, failed, p99Us, medianUs } = open('raw/main.js', 256, 1)
    expect(done).toBeGreaterThan(500)
    expect(failed).toBe(0)
    expect(p99Us).toBeGreaterThanOrEqual(medianUs!)
  })
})
