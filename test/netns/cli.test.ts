/**
 * The built command line against a daemon on real TAPs: what a terminal, a pipe, a signal and an
 * independent reader of captures see of it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { Client } from '../../services/client.ts'
import { addNetns, deleteNetns, netnsExists } from '../../stack/native/netns.ts'
import { hasTool, Lab, type Result, run, until } from './lab.ts'

const CLI = join(import.meta.dirname, '../../dist/services/cli/main.js')
const NODE = process.execPath

function shop(lab: Lab, more = ''): string {
  return `name: ${lab.prefix}
networks:
  front: { ipam: { config: [ { subnet: 10.1.0.0/24 } ] } }
  back: { ipam: { config: [ { subnet: 10.2.0.0/24 } ] } }
sandboxes:
  web: { netns: ${lab.ns('web')}, networks: { front: { ipv4_address: 10.1.0.11 } } }
  db: { netns: ${lab.ns('db')}, networks: { back: { ipv4_address: 10.2.0.12 } } }
${more}`
}

interface Started {
  readonly child: ChildProcess
  readonly ended: Promise<Result>
  /** What it has printed so far. */
  readonly said: () => string
}

/** Let a command run in the background. */
function start(...command: readonly string[]): Started {
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  const ended = new Promise<Result>((resolve) => {
    child.on('close', (code) => resolve({ code: code ?? -1, stdout, stderr }))
  })
  return { child, ended, said: () => stdout }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Wait until a command that goes on is connected to the daemon, and the daemon has heard it. */
async function connects(lab: Lab): Promise<void> {
  const row = new RegExp(` 03 +\\d+ ${lab.socket}$`, 'm')
  await until('connected', () => row.test(readFileSync('/proc/net/unix', 'utf8')), 20_000)
  await pause(100)
  // It is asked in turn, and was asked by the other one before.
  await new Client(lab.socket).get('daemon')
}

/** Wait until a sandbox's namespace is there. */
async function appears(lab: Lab, sandbox: string): Promise<void> {
  await expect.poll(() => netnsExists(lab.ns(sandbox)), { interval: 2, timeout: 60_000 }).toBe(true)
}

describe('the command line', () => {
  const lab = new Lab()

  beforeAll(async () => {
    await lab.up(shop(lab))
  })

  afterAll(async () => {
    expect((await lab.stop()).code).toBe(0)
    expect(lab.leftovers()).toEqual([])
    await lab.close()
  })

  it('says on stdout that it is ready, once, and logs JSON on stderr', () => {
    const counts = '2 networks, 2 sandboxes, 2 endpoints'
    expect(lab.readyLine).toMatch(
      new RegExp(
        `^ready ${lab.prefix}: ${counts}, tap \\((io_uring|poll)\\), pid \\d+, socket .*\n$`,
      ),
    )
    expect(statSync(lab.socket).mode & 0o777).toBe(0o600)
    for (const line of lab.log.trimEnd().split('\n')) {
      expect(JSON.parse(line)).toMatchObject({ name: lab.prefix, level: expect.any(Number) })
    }
  })

  it('refuses a second daemon at the same socket', async () => {
    const { code, stderr } = await run([NODE, CLI, 'up', lab.file, '--socket', lab.socket])
    expect(code).toBe(1)
    expect(stderr).toContain(`a daemon already listens at ${lab.socket}`)
    expect(await lab.ping('web', '10.2.0.12')).toBe(3)
  })

  it('ends quietly when its reader has enough', async () => {
    const line = `${NODE} ${CLI} stats --json --socket ${lab.socket}`
    const { code, stdout, stderr } = await run(['sh', '-c', `${line} | head -c 1`])
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '{', stderr: '' })
  })

  it('says that its output has no room', async () => {
    const line = `${NODE} ${CLI} ls --socket ${lab.socket} > /dev/full`
    const { code, stderr } = await run(['sh', '-c', line])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^tapline: stdout: ENOSPC: no space left on device.*\n$/)
  })

  it.each([['events'], ['conntrack', 'events'], ['top'], ['capture']])(
    'ends well when it is interrupted: %s %s',
    async (...args) => {
      const { child, ended, said } = start(
        NODE,
        CLI,
        ...args.filter(Boolean),
        '--socket',
        lab.socket,
      )
      // What asks again and again has no connection that lasts.
      if (args[0] === 'top') await until('it prints', () => said() !== '', 20_000)
      else await connects(lab)
      child.kill('SIGINT')
      expect((await ended).code).toBe(0)
    },
  )

  it('colours for terminals only, and not against NO_COLOR', async () => {
    if (!hasTool('script', 'bsdutils')) return
    const line = `${NODE} ${CLI} inspect web --socket ${lab.socket}`
    const colored = await run(['script', '-qec', line, '/dev/null'])
    expect(colored.stdout).toContain('\x1b[1msandbox web')
    const plain = await run(['env', 'NO_COLOR=1', 'script', '-qec', line, '/dev/null'])
    expect(plain.stdout).not.toContain('\x1b')
  })

  it('top takes the alternate screen, and gives it back on q', async () => {
    if (!hasTool('script', 'bsdutils')) return
    const line = `${NODE} ${CLI} top --socket ${lab.socket}`
    const { stdout, code } = await run([
      'sh',
      '-c',
      `(sleep 3; printf q) | script -qec '${line}' /dev/null`,
    ])
    expect(code).toBe(0)
    expect(stdout).toContain('\x1b[?1049h')
    expect(stdout).toContain('web/eth0')
    expect(stdout.trimEnd().endsWith('\x1b[?1049l')).toBe(true)
  })

  it('captures what tshark reads, live through a pipe, with the names of devices', async () => {
    if (!hasTool('tshark', 'tshark')) return
    const fields = '-T fields -e frame.interface_name -e ip.src -e icmp.type'
    const line = `${NODE} ${CLI} capture -c 4 -w - icmp --socket ${lab.socket}`
    const { ended } = start('sh', '-c', `${line} | tshark -l -r - ${fields}`)
    await connects(lab)
    expect(await lab.ping('web', '10.2.0.12')).toBe(3)
    const { stdout } = await ended
    expect(stdout.trimEnd().split('\n')).toEqual([
      'web/eth0\t10.1.0.11\t8',
      'db/eth0\t10.1.0.11\t8',
      'db/eth0\t10.2.0.12\t0',
      'web/eth0\t10.2.0.12\t0',
    ])
  })

  it('captures until interrupted, and says how many', async () => {
    const args = ['capture', '-i', 'web/eth0', 'icmp', '--socket', lab.socket]
    const { child, ended, said } = start(NODE, CLI, ...args)
    await connects(lab)
    expect(await lab.ping('web', '10.2.0.12')).toBe(3)
    await until('six lines', () => said().split('\n').length > 6, 10_000)
    child.kill('SIGINT')
    const { code, stdout, stderr } = await ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: '6 frames captured\n' })
    expect(stdout.trimEnd().split('\n')).toHaveLength(6)
  })

  it('captures super-frames whole, and a transfer goes on while it is watched', async () => {
    if (!hasTool('iperf3', 'iperf3')) return
    lab.spawn('db', 'iperf3', '-s', '-1')
    const file = join(lab.folder, 'bulk.pcapng')
    const args = ['capture', '-w', file, '-s', '96', 'tcp port 5201', '--socket', lab.socket]
    const { child, ended } = start(NODE, CLI, ...args)
    await connects(lab)
    const { code } = await lab.exec('web', 'iperf3', '-c', '10.2.0.12', '-t', '1')
    expect(code).toBe(0)
    child.kill('SIGINT')
    expect((await ended).code).toBe(0)
    expect(statSync(file).size).toBeGreaterThan(10_000)
    if (!hasTool('tshark', 'tshark')) return
    const lengths = await run(['tshark', '-r', file, '-T', 'fields', '-e', 'frame.len'])
    expect(lengths.stderr.replace(/^Running as user.*$/m, '').trim()).toBe('')
    expect(Math.max(...lengths.stdout.trim().split('\n').map(Number))).toBeGreaterThan(1514)
  })

  it('tells followers what it logs', async () => {
    const { child, ended, said } = start(NODE, CLI, 'events', '--json', '--socket', lab.socket)
    await connects(lab)
    expect((await lab.cli('apply', lab.file)).stdout).toBe('nothing to do\n')
    await until('an event', () => said().includes('\n'), 10_000)
    child.kill('SIGINT')
    expect(JSON.parse((await ended).stdout)).toMatchObject({ msg: 'applied', steps: 0 })
  })

  it('applies its file again on SIGHUP, and stays as it is over a bad one', async () => {
    const sandboxes = async (): Promise<number> =>
      (await lab.json<{ sandboxes: unknown[] }>('ls')).sandboxes.length
    const networks = '{ front: { ipv4_address: 10.1.0.13 } }'
    lab.write(shop(lab, `  new: { netns: ${lab.ns('new')}, networks: ${networks} }\n`))
    lab.daemon!.kill('SIGHUP')
    await expect.poll(sandboxes, { timeout: 20_000 }).toBe(3)
    expect(await lab.ping('web', '10.1.0.13')).toBe(3)
    lab.write(shop(lab, 'oops: 1\n'))
    lab.daemon!.kill('SIGHUP')
    await expect
      .poll(() => lab.log, { timeout: 20_000 })
      .toContain('the file was not applied again')
    expect(await sandboxes()).toBe(3)
    lab.write(shop(lab))
    expect((await lab.cli('apply', lab.file)).stdout).toMatch(/^leave +new\/front/m)
    expect(netnsExists(lab.ns('new'))).toBe(false)
  })

  it('tells what others have changed inside a sandbox', async () => {
    const check = () => lab.cli('check', '--live')
    expect(await check()).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^no diff.*\nno f/),
    })
    const inside = (...words: string[]) =>
      run(['ip', 'netns', 'exec', lab.ns('web'), 'ip', ...words])
    await inside('link', 'set', 'eth0', 'down')
    const { code, stdout } = await check()
    expect([code, stdout]).toEqual([1, expect.stringContaining(`eth0 is down in ${lab.ns('web')}`)])
    await inside('link', 'set', 'eth0', 'up')
    expect((await check()).stdout).toContain('eth0 has no default route via 10.1.0.1')
    await inside('route', 'add', 'default', 'via', '10.1.0.1')
    expect((await check()).stdout).not.toContain('via 10.1.0.1')
    await inside('addr', 'del', '10.1.0.11/24', 'dev', 'eth0')
    const { inside: faults } = JSON.parse((await lab.cli('check', '--live', '--json')).stdout)
    expect(faults).toContainEqual({
      sandbox: 'web',
      network: 'front',
      fault: 'eth0 has no address 10.1.0.11/24',
    })
    await inside('link', 'del', 'eth0')
    await expect.poll(async () => (await check()).stdout, { timeout: 20_000 }).toContain('eth0: ')
    expect((await check()).code).toBe(1)
    expect((await lab.cli('apply', lab.file)).stdout).toContain('join')
    expect((await check()).code).toBe(0)
  })

  it('applies large files, which a thread reads, and names their faults', async () => {
    const routes = Array.from(
      { length: 500 },
      (_, i) => `  - { to: 10.${100 + (i >> 8)}.${i & 255}.0/24, blackhole: true }\n`,
    )
    lab.write(`${shop(lab)}routes:\n${routes.join('')}  - { to: nowhere, blackhole: true }\n`)
    const refused = await lab.cli('apply', lab.file)
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/lab\.yaml:\d+:11: "nowhere"/)
    lab.write(`${shop(lab)}routes:\n${routes.join('')}`)
    const listed = (): Promise<number> => lab.json<unknown[]>('routes').then((all) => all.length)
    expect((await lab.cli('apply', lab.file)).stdout).toContain('500 steps done')
    expect(await listed()).toBeGreaterThan(500)
    lab.write(shop(lab))
    expect((await lab.cli('apply', lab.file)).stdout).toContain('500 steps done')
    expect(await listed()).toBeLessThan(500)
  })
})

/** A lab of one test, closed however that ends. */
function ownLab(): Lab {
  const lab = new Lab()
  onTestFinished(() => lab.close())
  return lab
}

describe('up', () => {
  it('prints every fault of a file, exits 2, and makes nothing', async () => {
    const lab = ownLab()
    const file = join(lab.folder, 'bad.yaml')
    writeFileSync(file, shop(lab, 'colour: red\n').replace('10.1.0.11', '10.9.0.11'))
    const { code, stdout, stderr } = await run([NODE, CLI, 'up', file, '--socket', lab.socket])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr.trimEnd().split('\n')).toHaveLength(2)
    expect(stderr).toMatch(new RegExp(`^${file}:6:\\d+: .*10\\.9\\.0\\.11`, 'm'))
    expect(lab.leftovers()).toEqual([])
  })

  it.each([
    ['before it can hear', 'SIGTERM', () => pause(50)],
    ['with its first namespace', 'SIGTERM', (lab: Lab) => appears(lab, 's0')],
    ['in the middle', 'SIGINT', (lab: Lab) => appears(lab, 's20')],
    ['near its end', 'SIGTERM', (lab: Lab) => appears(lab, 's39')],
  ] as const)('removes everything if ended %s', async (_, signal, moment) => {
    const lab = ownLab()
    const names = Array.from({ length: 40 }, (_, i) => `s${i}`)
    const more = names.map((s) => `  ${s}: { netns: ${lab.ns(s)}, networks: [front] }\n`).join('')
    await lab.up(shop(lab, more), [], false)
    await moment(lab)
    const { code } = await lab.stop(signal)
    // Ended by the signal itself if it came before anything was made.
    if (signal === 'SIGINT' || code !== null) expect(code).toBe(0)
    expect(lab.leftovers()).toEqual([])
  })

  it('says in one line what the system refuses', async () => {
    const lab = ownLab()
    lab.write(shop(lab))
    const up = [NODE, CLI, 'up', lab.file, '--socket', '/proc/shop.sock', '--log-level', 'silent']
    const { code, stderr } = await run(up)
    expect(code).toBe(1)
    expect(stderr).toMatch(/^tapline: listen E[A-Z]+: .* \/proc\/shop\.sock\n$/)
    expect(lab.leftovers()).toEqual([])
  })

  it('takes over the socket of a daemon that was killed', async () => {
    const lab = ownLab()
    await lab.up(shop(lab))
    await lab.stop('SIGKILL')
    expect(existsSync(lab.socket)).toBe(true)
    expect((await lab.cli('ls')).stderr).toContain('no daemon listens at')
    lab.readyLine = ''
    await lab.up(shop(lab))
    expect(await lab.ping('web', '10.2.0.12')).toBe(3)
    expect((await lab.stop()).code).toBe(0)
    expect(lab.leftovers()).toEqual([])
  })

  it('leaves namespaces of others, and those whose maker lives', async () => {
    const lab = ownLab()
    await lab.up(shop(lab))
    const second = ownLab()
    await second.up(`name: second
networks: { back: { ipam: { config: [ { subnet: 10.3.0.0/24 } ] } } }
sandboxes:
  guest: { netns: ${lab.ns('web')}, networks: { back: { interface_name: eth9 } } }
`)
    expect((await second.stop()).code).toBe(0)
    expect(await lab.ping('web', '10.1.0.1')).toBe(3)
    await lab.stop()
    expect(lab.leftovers()).toEqual([])
  })

  it('follows a name to the namespace it leads to now, and leaves that to its maker', async () => {
    const lab = ownLab()
    await lab.up(shop(lab))
    // Somebody inside keeps the old one alive.
    const { child } = start('ip', 'netns', 'exec', lab.ns('web'), 'sleep', '60')
    onTestFinished(() => void child.kill())
    const inside = (): string => readlinkSync(`/proc/${child.pid}/ns/net`)
    await expect.poll(inside, { timeout: 20_000 }).not.toBe(readlinkSync('/proc/self/ns/net'))
    deleteNetns(lab.ns('web'))
    addNetns(lab.ns('web'))
    onTestFinished(() => deleteNetns(lab.ns('web')))
    expect((await lab.cli('ls')).stdout).toMatch(/^web .* lost$/m)
    expect((await lab.cli('apply', lab.file)).code).toBe(0)
    expect((await lab.cli('ls')).stdout).toMatch(/^web .* up$/m)
    expect(await lab.ping('web', '10.2.0.12')).toBe(3)
    await lab.stop()
    expect(netnsExists(lab.ns('web'))).toBe(true)
  })

  it('cleans up also if nobody reads what it says', async () => {
    const lab = ownLab()
    lab.write(shop(lab))
    const line = `${NODE} ${CLI} up ${lab.file} --socket ${lab.socket}`
    const { child, ended } = start('sh', '-c', `exec ${line}`)
    child.stdout!.destroy()
    child.stderr!.destroy()
    await runsAndEnds(lab, { child, ended })
  })

  it('runs and cleans up also if the disk is full that it writes to', async () => {
    const lab = ownLab()
    lab.write(shop(lab))
    const line = `${NODE} ${CLI} up ${lab.file} --socket ${lab.socket}`
    await runsAndEnds(lab, start('sh', '-c', `exec ${line} > /dev/full 2> /dev/full`))
  })
})

/** A daemon that becomes ready, ends well when it is told to, and leaves nothing. */
async function runsAndEnds(
  lab: Lab,
  { child, ended }: Pick<ReturnType<typeof start>, 'child' | 'ended'>,
): Promise<void> {
  await expect
    .poll(() => lab.cli('ls').then(({ stdout }) => stdout), { timeout: 20_000 })
    .toContain(': ready')
  child.kill('SIGTERM')
  expect((await ended).code).toBe(0)
  expect(lab.leftovers()).toEqual([])
}

describe('the demo', () => {
  it('shows the main job on TAPs, and leaves nothing', async () => {
    const { code, stdout, stderr } = await run([NODE, CLI, 'demo', '--mode', 'tap'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^Mode tap: /m)
    expect(stdout).toContain('64 bytes from 10.2.0.12')
    expect(stdout).toContain('64 bytes from fd00:2::12')
    expect(stdout.match(/bit\/s/g)).toHaveLength(2)
    expect(stdout).toContain('transmitted by db/eth0')
    const [, name] = /^ {3}name: (demo-\d+)$/m.exec(stdout)!
    for (const sandbox of ['web1', 'web2', 'db']) {
      expect(netnsExists(`${name}-${sandbox}`)).toBe(false)
    }
  })

  it('runs in memory', async () => {
    const { code, stdout } = await run([NODE, CLI, 'demo', '--mode', 'memory'])
    expect(code).toBe(0)
    expect(stdout).toContain('10.1.0.1 → 10.2.0.12')
    expect(stdout).toContain('transmitted by db/eth0')
  })

  it('needs no root: in a user namespace, on TAPs', async () => {
    if (!hasTool('setpriv', 'util-linux')) return
    const nobody = 'setpriv --reuid 65534 --regid 65534 --clear-groups'
    // /dev/net/tun as distributions have it, open to everybody, and seen by this command only.
    const script = `mount -t tmpfs tmpfs /dev/net && mknod /dev/net/tun c 10 200 &&
      chmod 666 /dev/net/tun && exec ${nobody} "$@"`
    const inside = ['unshare', '--mount', 'sh', '-c', script, '-', NODE, CLI, 'demo']
    const { code, stdout, stderr } = await run(inside)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^Mode userns: /m)
    expect(stdout).toContain('not "tap": you are not root')
    expect(stdout).toContain('transmitted by db/eth0')
  })

  it('can be interrupted, and cleans up', async () => {
    const { child, ended, said } = start(NODE, CLI, 'demo', '--mode', 'tap')
    await until('the demo runs', () => /^ {3}name: demo-/m.test(said()), 20_000)
    child.kill('SIGINT')
    const { code, stdout } = await ended
    expect(code).toBe(0)
    const [, name] = /^ {3}name: (demo-\d+)$/m.exec(stdout)!
    expect(netnsExists(`${name}-web1`)).toBe(false)
  })
})
