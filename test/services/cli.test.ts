/** Commands as they are typed, against a daemon in memory: what they print, and exit codes. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { runCommand } from '../../services/cli/program.ts'
import { rates, type Sample, topLines } from '../../services/cli/top.ts'
import { packageVersion } from '../../services/version.ts'
import { PcapngReader } from '../../stack/eth/pcapng_reader.ts'
import { BIGGER, DaemonLab, SHOP } from './daemon_lab.ts'

interface Result {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Run a command in this process, and keep what it writes. */
async function tapline(...args: string[]): Promise<Result> {
  const written = { stdout: '', stderr: '' }
  const keep = (name: 'stdout' | 'stderr') => (chunk: string | Uint8Array) => {
    written[name] += chunk.toString()
    return true
  }
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation(keep(name)),
  )
  try {
    return { code: await runCommand(args), ...written }
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

let lab: DaemonLab

beforeAll(async () => {
  lab = new DaemonLab()
  await lab.daemon.start()
})

afterAll(async () => {
  expect(await lab.close()).toEqual([])
})

afterEach(() => {
  vi.unstubAllEnvs()
})

/** A command against the daemon. */
function ask(...args: string[]): Promise<Result> {
  return tapline(...args, '--socket', lab.socketPath)
}

describe('reading commands', () => {
  it.each([
    [
      'ls',
      /^NETWORK +DRIVER +SUBNETS.*\nfront +bridge +10\.1\.0\.0\/24 +10\.1\.0\.1 +no +1500 +2$/m,
    ],
    ['ls', /^web1 +web1 +eth0 +front +10\.1\.0\.11\/24 +02:42:0a:01:00:0b +up$/m],
    ['fdb', /^front +02:42:0a:01:00:0b +- +web1\/eth0 +static +-$/m],
    ['fdb back', /^back +02:42:0a:02:00:0c +- +db\/eth0 +static +-$/m],
    ['routes', /^10\.1\.0\.0\/24 +connected +- +front$/m],
    ['neigh', /^NETWORK +ADDRESS +MAC +STATE +AGE$/m],
    ['stats', /^packet memory: small \d+ idle of 512, large 16 idle of 16$/m],
    ['drops', /^FROM +REASON +COUNT +WHAT IT MEANS$/m],
    ['inspect web1', /^ {4}addresses: +10\.1\.0\.11\/24$/m],
    ['inspect front', /^ {2}port gateway: forwarding, \d+ learned, 0 refused$/m],
    ['top --once', /^web1\/eth0 +front +0 +0 +0 +0 +0$/m],
  ])('%s prints a table for people', async (command, line) => {
    const { code, stdout, stderr } = await ask(...command.split(' '))
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(line)
    expect(stdout).not.toMatch(/[ \t]$/m)
    expect(stdout).not.toContain('\x1b')
  })

  it.each(['ls', 'fdb', 'neigh', 'routes', 'stats', 'drops', 'inspect', 'top --once'])(
    '%s --json prints what the API says',
    async (command) => {
      const { code, stdout } = await ask(...command.split(' '), '--json')
      expect(code).toBe(0)
      const value: unknown = JSON.parse(stdout)
      if (!command.startsWith('top') && command !== 'stats') {
        expect(value).toEqual(await lab.client.get(command))
      }
    },
  )

  it('finds its daemon by the environment', async () => {
    vi.stubEnv('TAPLINE_SOCKET', lab.socketPath)
    expect((await tapline('ls')).stdout).toContain('shop: ready')
  })
})

describe('wait', () => {
  it('returns without a word when the daemon is ready', async () => {
    expect(await ask('wait')).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  it('waits for one that is still to come', async () => {
    const later = new DaemonLab()
    const waiting = tapline('wait', '--socket', later.socketPath)
    await new Promise((resolve) => setTimeout(resolve, 120))
    await later.daemon.start()
    expect((await waiting).code).toBe(0)
    expect(await later.close()).toEqual([])
  })

  it('says what is missing when the time is over', async () => {
    const { code, stderr } = await tapline('wait', '--timeout', '1', '--socket', '/nowhere.sock')
    const missing = 'no daemon listens at /nowhere.sock'
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `tapline: not ready within 1 s: ${missing}\n`,
    })
  })
})

describe('exit codes', () => {
  it.each([
    [0, ['--help'], /Usage: tapline/],
    [0, ['--version'], new RegExp(`^${packageVersion()}$`, 'm')],
    [0, ['capture', '--help'], /pcap-filter\(7\)/],
    [0, ['help', 'trace'], /element|step by step/],
    [2, [], /Usage: tapline/],
    [2, ['frobnicate'], /^tapline: unknown command 'frobnicate'$/m],
    [2, ['lss'], /^tapline: unknown command 'lss'; did you mean ls\?$/m],
    [2, ['ports', 'list'], /^tapline: 'ports' has no command 'list'; it has ls, add, rm$/m],
    [
      2,
      ['keys', 'frob'],
      /^tapline: 'keys' has no command 'frob'; it has list, install, use, rem/m,
    ],
    [2, ['check', '/'], /^\/: this is a folder, and a file is wanted$/m],
    [2, ['check', '/dev/zero'], /^\/dev\/zero:1:1: larger than 8388608 octets$/m],
    [2, ['check', '/dev/null/x'], /^\/dev\/null\/x: there is no such file$/m],
    [2, ['ls', '--frob'], /unknown option '--frob'/],
    [2, ['up'], /missing required argument 'file'/],
    [2, ['up', 'x.yaml', '--engine', 'dpdk'], /Allowed choices are auto, io_uring, poll/],
    [2, ['up', 'x.yaml', '--pool', '1'], /whole number from 8 to 4096/],
    [2, ['up', '/nowhere/x.yaml'], /^\/nowhere\/x\.yaml: there is no such file$/m],
    [2, ['check', '/nowhere/x.yaml'], /there is no such file/],
    [2, ['trace', '--from', 'web1'], /--to or --raw/],
    [2, ['trace', '--to', '10.1.0.12'], /required option '--from <sandbox>'/],
    [2, ['capture', 'port', 'http'], /filter "port http": expected a value/],
    [2, ['capture', '-c', '0'], /whole number from 1/],
    [1, ['ls', '--socket', '/nowhere.sock'], /^tapline: no daemon listens at \/nowhere\.sock$/m],
  ])('%d for %j', async (code, args, said) => {
    const result = await tapline(...args)
    expect(result.stdout + result.stderr).toMatch(said)
    expect(result.code).toBe(code)
  })

  it.each([
    [1, ['inspect', 'nobody'], /no network, sandbox, .* "nobody"; there are: front, back, web1, /],
    [1, ['inspect', 'frnt'], /"frnt"; did you mean "front"\?$/m],
    [1, ['fdb', 'nowhere'], /no network with a bridge "nowhere"; there are: front, back$/m],
    [1, ['leases', 'front'], /no network with a DHCP server "front"; there are none$/m],
    [1, ['flows', 'web3/eth0'], /no device "web3\/eth0"; did you mean "web1\/eth0"\?$/m],
    [1, ['drain', 'web', 'web1'], /no service "web"; there are none$/m],
    [1, ['ports', 'add', '80', 'web3'], /no sandbox "web3"; did you mean "web1"\?$/m],
    [1, ['dns', 'resolve', '--from', 'web9', 'db'], /no sandbox "web9"; did you mean "web1"\?$/m],
    [1, ['conntrack', '--sandbox', 'dbs'], /no sandbox "dbs"; did you mean "db"\?$/m],
    [2, ['conntrack', '--proto', 'foo'], /no protocol "foo"; there are: .*tcp/],
    [2, ['conntrack', '--state', 'open'], /no state "open"; there are: .*established/],
    [1, ['capture', '-w', '/dev/full'], /^tapline: \/dev\/full: ENOSPC: no space left on device/m],
    [1, ['capture', '-i', 'eth9'], /no device "eth9"; there are: web1\/eth0/],
    [2, ['trace', '--from', 'web1', '--to', 'mars'], /"mars" is not an IPv4 or IPv6 address/],
    [1, ['trace', '--from', 'nobody', '--to', '10.1.0.12'], /nobody/],
  ])('%d for %j with a daemon', async (code, args, said) => {
    const { stderr, ...result } = await ask(...args)
    expect(stderr).toMatch(said)
    expect(stderr).toMatch(/^tapline: /)
    expect(result.code).toBe(code)
  })
})

describe('check and apply', () => {
  const write = (name: string, text: string): string => {
    const path = join(lab.folder, name)
    writeFileSync(path, text)
    return path
  }

  it('check says that a file is good', async () => {
    const path = write('good.yaml', SHOP)
    const { code, stdout } = await tapline('check', path)
    const counts = '2 networks, 3 sandboxes, 3 endpoints, 0 routes'
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${path}: good (shop: ${counts})\n` })
    const json = await tapline('check', path, '--json')
    expect(JSON.parse(json.stdout)).toMatchObject({ name: 'shop', sandboxes: 3 })
  })

  it.each(['check', 'apply', 'up'])('%s prints every fault with its place', async (command) => {
    const path = write('bad.yaml', SHOP.replace('.0.11', '.9.11').concat('colour: red\n'))
    const { code, stdout, stderr } = await tapline(command, path)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    const lines = stderr.trimEnd().split('\n')
    expect(lines).toHaveLength(2)
    for (const line of lines) expect(line).toMatch(new RegExp(`^${path}:\\d+:\\d+: `))
  })

  it('check --json gives the faults to programs', async () => {
    const path = write('bad.yaml', SHOP.replace('.0.11', '.9.11').concat('colour: red\n'))
    const { code, stdout, stderr } = await tapline('check', path, '--json')
    expect({ code, stderr }).toEqual({ code: 2, stderr: '' })
    const { faults } = JSON.parse(stdout)
    expect(faults).toHaveLength(2)
    const place = { line: expect.any(Number), column: expect.any(Number) }
    expect(faults[1]).toEqual({ ...place, message: expect.stringMatching(/unknown key "colour"/) })
  })

  it('check says that a subnet has no room for its endpoints', async () => {
    const small = `name: small
networks: { n: { ipam: { config: [ { subnet: 10.1.0.0/30 } ] } } }
sandboxes: { a: { networks: [ n ] }, b: { networks: [ n ] } }
`
    const { code, stderr } = await tapline('check', write('small.yaml', small))
    expect(code).toBe(2)
    expect(stderr).toMatch(/small\.yaml:1:1: no address left in 10\.1\.0\.0\/30 for sandbox "b"/)
  })

  it('apply shows its steps, and with --dry-run does none', async () => {
    const path = write('bigger.yaml', BIGGER)
    const dry = await ask('apply', path, '--dry-run')
    expect(dry.stdout).toMatch(/^join +web3\/front +eth0 10\.1\.0\.13\/24$/m)
    expect(dry.stdout).toMatch(/^2 steps to do$/m)
    expect((await ask('apply', path)).stdout).toMatch(/^2 steps done$/m)
    expect((await ask('apply', path)).stdout).toBe('nothing to do\n')
    const back = await ask('apply', write('shop.yaml', SHOP), '--json')
    expect(JSON.parse(back.stdout).steps).toHaveLength(2)
  })
})

describe('trace', () => {
  it('prints the steps and the verdict, and is a test with --expect', async () => {
    const args = ['trace', '--from', 'web1', '--to', '10.1.0.12', '--proto', 'tcp']
    const { code, stdout } = await ask(...args, '--expect', 'transmitted')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^from web1\/eth0\n1 {2}sandbox web1 {2}sends to 10\.1\.0\.12 \(tcp, /)
    expect(stdout).toMatch(/^transmitted by web2\/eth0$/m)
    const other = await ask(...args, '--expect', 'dropped')
    expect(other.code).toBe(1)
    expect(other.stderr).toBe('tapline: expected dropped\n')
  })

  it('says why a packet is dropped', async () => {
    const { stdout } = await ask('trace', '--from', 'web1', '--to', '192.0.2.1')
    expect(stdout).toMatch(
      /^\d {2}router +would answer ICMP network unreachable from 10\.1\.0\.1$/m,
    )
    expect(stdout).toMatch(/^dropped for no-route$/m)
  })

  it.each([
    ['arp', 'consumed', 'would answer with 02:42:0a:01:00:0c'],
    ['udp', 'transmitted', 'web2/eth0'],
  ])('speaks %s', async (proto, verdict, detail) => {
    const args = ['trace', '--from', 'web1', '--to', '10.1.0.12', '--proto', proto, '--json']
    expect(JSON.parse((await ask(...args)).stdout).ends).toEqual([{ verdict, detail }])
  })
})

describe('capture', () => {
  async function captured(...args: string[]): Promise<Result> {
    const result = ask('capture', ...args)
    // Long enough for the stream to be open: the daemon is in this process.
    await new Promise((resolve) => setTimeout(resolve, 300))
    await lab.links.host('web1')!.ping('10.1.0.12')
    return result
  }

  it('prints a line a frame, as tcpdump does', async () => {
    const { code, stdout, stderr } = await captured('-c', '2', '-i', 'web1/eth0', 'icmp')
    expect(code).toBe(0)
    expect(stderr).toBe('2 frames captured\n')
    const time = String.raw`\d\d:\d\d:\d\d\.\d{6}`
    expect(stdout.split('\n')[0]).toMatch(
      new RegExp(`^${time} web1/eth0 In {2}IP 10.1.0.11 > 10.1.0.12: ICMP echo request, id`),
    )
    expect(stdout.split('\n')[1]).toMatch(
      / web1\/eth0 Out IP 10\.1\.0\.12 > 10\.1\.0\.11: ICMP echo reply/,
    )
  })

  it('writes pcapng', async () => {
    const file = join(lab.folder, 'x.pcapng')
    const { stdout } = await captured('-w', file, '-c', '4', 'icmp')
    expect(stdout).toBe('')
    const reader = new PcapngReader()
    reader.push(readFileSync(file))
    const names = Array.from({ length: 4 }, () => reader.next()?.interface.name)
    expect(names).toEqual(['web1/eth0', 'web2/eth0', 'web2/eth0', 'web1/eth0'])
    expect(reader.next()).toBeUndefined()
    expect(reader.malformed).toBeUndefined()
  })

  it('says so if the file cannot be written', async () => {
    const { code, stderr } = await ask('capture', '-w', '/nowhere/x.pcapng')
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: /ENOENT/ })
  })
})

describe('top', () => {
  const device = {
    kind: 'tap',
    network: 'front',
    sandbox: 'web1',
    mtu: 1500,
    rxNoBuffer: 0,
    txErrors: 0,
    dropped: 0,
  }
  const pool = { smallCount: 10, smallIdle: 9, largeCount: 4, largeIdle: 4 }
  function sample(uptimeMs: number, counts: Record<string, number>, drops = 0): Sample {
    const devices = Object.entries(counts).map(([name, n]) => ({
      ...device,
      device: name,
      rxPackets: n,
      rxBytes: n * 1000,
      txPackets: 0,
      txBytes: 0,
    }))
    const rows = drops === 0 ? [] : [{ device: 'a', reason: 'no-route', count: drops, help: '' }]
    return { stats: { uptimeMs, links: 'tap', lostDevices: 0, pool, devices }, drops: rows }
  }

  it('shows rates over the time that really passed, the busiest first', () => {
    const [first, second] = rates(sample(0, { a: 0, b: 0 }), sample(2000, { a: 100, b: 3000 }))
    expect(first).toMatchObject({ device: 'b', rxPacketsPerS: 1500, rxBitsPerS: 12_000_000 })
    expect(second).toMatchObject({ device: 'a', rxPacketsPerS: 50 })
  })

  it('takes a device that was made anew as counting from zero', () => {
    expect(rates(sample(0, { a: 500 }), sample(1000, { a: 10 }))[0]!.rxPacketsPerS).toBe(10)
    expect(rates(sample(0, {}), sample(1000, { a: 10 }))[0]!.rxPacketsPerS).toBe(10)
    expect(rates(sample(0, { a: 1 }), sample(1000, {}))).toEqual([])
  })

  it('names the reasons of drops since the last look', () => {
    const lines = topLines(sample(0, { a: 0 }, 5), sample(1000, { a: 0 }, 1505))
    expect(lines).toContain('dropped: no-route 1.50k')
    expect(topLines(sample(0, { a: 0 }, 5), sample(1000, { a: 0 }, 5)).join()).not.toContain(
      'no-route',
    )
  })
})
