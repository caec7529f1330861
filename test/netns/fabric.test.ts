/** The library on TAPs: sandboxes are network namespaces, and commands run inside. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { describe, expect, it, vi } from 'vitest'
import { createFabric } from '../../services/fabric/library.ts'

function ours(): string[] {
  return readdirSync('/var/run/netns').filter((name) => name.startsWith(`tl${process.pid}-`))
}

const LIBRARY = new URL('../../dist/services/fabric/fabric.js', import.meta.url)
/** Two sandboxes and two programs, in a process or thread that then does what `end` says. */
const script = (end: string): string => `
  import { spawnSync } from 'node:child_process'
  import { createFabric } from '${LIBRARY}'
  const fabric = await createFabric({ devices: 'tap' })
  await fabric.network('front')
  const web = await fabric.sandbox('web', { networks: ['front'] })
  const db = await fabric.sandbox('db', { networks: ['front'] })
  await web.ping(db)
  web.start(['sleep', '600'])
  void web.exec(['sleep', '600'])
  const list = () => spawnSync('ip', ['netns', 'pids', web.netns], { encoding: 'utf8' }).stdout
  const pids = () => list().trim().split('\\n')
  while (pids().length < 2) await fabric.advance(10)
  console.log(web.netns, ...pids())
  ${end}
`

interface Left {
  readonly name: string
  readonly netns: boolean
  readonly pids: readonly number[]
}

/** What there is of a fabric whose process has ended as `end` says. */
function leftBy(end: string): Left {
  const node = ['--input-type=module', '-e', script(end)]
  const { stdout, stderr } = spawnSync(process.execPath, node, { encoding: 'utf8' })
  const [name = '', ...pids] = stdout.trim().split(' ')
  expect(name, stderr).toMatch(/^tl\d+-/)
  expect(pids.length, stderr).toBe(2)
  return { name, netns: existsSync(`/var/run/netns/${name}`), pids: pids.map(Number) }
}

/** One that nobody has waited for yet runs no more. */
function isRunning(pid: number): boolean {
  if (!existsSync(`/proc/${pid}`)) return false
  return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
}

describe('fabric on TAPs', () => {
  it('is gone with a process that did not close it', async () => {
    const exited = leftBy('process.exit()')
    expect(exited.netns).toBe(false)
    // A kill takes effect a little later.
    await expect.poll(() => exited.pids.filter(isRunning), { timeout: 20_000 }).toEqual([])
    expect(existsSync(`/etc/netns/${exited.name}`)).toBe(false)
    const killed = leftBy("process.kill(process.pid, 'SIGKILL')")
    for (const pid of killed.pids) process.kill(pid)
    // The next one removes what nobody could.
    const fabric = await createFabric({ devices: 'tap' })
    await fabric.close()
    expect(existsSync(`/var/run/netns/${killed.name}`)).toBe(false)
    expect(existsSync(`/etc/netns/${killed.name}`)).toBe(false)
  })

  it('is one of its own in each thread', async () => {
    const threads = [1, 2, 3].map(() => {
      const source = new URL(
        `data:text/javascript,${encodeURIComponent(script('await fabric.close()'))}`,
      )
      const worker = new Worker(source, { stderr: true, stdout: true })
      const said: string[] = []
      worker.stderr.on('data', (text) => said.push(String(text)))
      return new Promise<string>((resolve, reject) => {
        worker.on('error', reject)
        worker.on('exit', () => resolve(said.join('')))
      })
    })
    expect(await Promise.all(threads)).toEqual(['', '', ''])
    expect(ours()).toEqual([])
  })

  it('goes on while a test fakes timers', async () => {
    vi.useFakeTimers()
    try {
      await using fabric = await createFabric({ devices: 'tap' })
      await fabric.network('front')
      const web = await fabric.sandbox('web', { networks: ['front'] })
      const db = await fabric.sandbox('db', { networks: ['front'] })
      fabric.link('web', 'front').faults({ delayMs: 5 })
      expect((await web.ping(db)).rttMs).toBeGreaterThan(10)
      await fabric.advance(5)
    } finally {
      vi.useRealTimers()
    }
  })

  it('says why a ping has no answer as one in memory does', async () => {
    await using fabric = await createFabric({ devices: 'tap' })
    await fabric.network('front', { subnets: ['10.91.0.0/24', 'fd00:91::/64'] })
    await fabric.network('back', { subnets: ['10.92.0.0/24', 'fd00:92::/64'], mtu: 1400 })
    const web = await fabric.sandbox('web', { networks: ['front'] })
    const db = await fabric.sandbox('db', { networks: ['back'] })
    for (const [i, to] of [db.ipv4(), db.ipv6()].entries()) {
      const from = ['10.91.0.1', 'fd00:91::1'][i]
      const far = web.ping(to, { ttl: 1 })
      await expect(far).rejects.toMatchObject({ kind: 'time-exceeded', from })
      const large = web.ping(to, { bytes: 1430, dontFragment: true })
      await expect(large).rejects.toMatchObject({ kind: 'too-big', from, mtuBytes: 1400 })
    }
    await expect(web.ping('10.91.0.77')).rejects.toMatchObject({ kind: 'unreachable' })
    const heal = fabric.partition('web', 'db')
    const cut = web.ping(db, { timeoutMs: 1000 })
    await expect(cut).rejects.toMatchObject({ kind: 'timeout', from: undefined })
    heal()
    await expect(web.ping('nobody')).rejects.toThrow('ping nobody: nobody: Name or service')
    expect(() => web.listen(0, () => {})).toThrow('0 is not a TCP port')
  })

  it('starts nothing once it is closed', async () => {
    const fabric = await createFabric({ devices: 'tap' })
    const web = await fabric.sandbox('web')
    const closing = fabric.close()
    expect(() => web.start(['sleep', '600'])).toThrow('the fabric is closed')
    expect(() => web.listen(80, () => {})).toThrow('the fabric is closed')
    await closing
    await expect(web.exec(['true'])).rejects.toThrow('the fabric is closed')
  })

  it('ends with a sandbox what runs in it, whatever that has started', async () => {
    await using fabric = await createFabric({ devices: 'tap' })
    await fabric.network('front', { subnets: ['10.93.0.0/24'] })
    const web = await fabric.sandbox('web', { networks: ['front'] })
    await web.ping('10.93.0.1')
    fabric.link('web', 'front').faults({ partitioned: true })
    const asked = expect(web.ping('10.93.0.1', { timeoutMs: 60_000 })).rejects.toThrow(
      'ping 10.93.0.1: it was ended before it had an answer',
    )
    // The shell is ended, and the child of its own that it waits for has its outputs.
    const shell = ['sh', '-c', 'echo begun; sleep 20; echo never']
    const run = web.exec(shell)
    const limited = await web.exec(shell, { timeoutMs: 500 })
    expect(limited).toEqual({ code: null, stdout: 'begun\n', stderr: '' })
    await web.remove()
    expect(await run).toMatchObject({ code: null, stdout: 'begun\n' })
    await asked
  })

  it('runs commands in sandboxes, and leaves nothing behind', async () => {
    const fabric = await createFabric({ devices: 'tap', name: `lib${process.pid}` })
    try {
      await fabric.network('front', { subnets: ['10.91.0.0/24', 'fd00:91::/64'] })
      await fabric.network('back', { subnets: ['10.92.0.0/24', 'fd00:92::/64'] })
      const web = await fabric.sandbox('web', { networks: ['front'] })
      const db = await fabric.sandbox('db', { networks: ['back'] })
      expect(ours().length).toBe(2)
      expect(await web.ping(db)).toMatchObject({ from: db.ipv4(), ttl: 63, bytes: 56 })
      expect(await web.ping(db.ipv6(), { bytes: 1000 })).toMatchObject({ from: db.ipv6() })
      await expect(web.ping('10.92.0.77', { timeoutMs: 1000 })).rejects.toThrow(/ping 10.92.0.77/)
      const app = await fabric.sandbox('app', {
        networks: { front: { aliases: ['*.wild'] } },
      })
      const { stdout: hosts } = await web.exec(['getent', 'ahostsv4', 'app.front'])
      expect(hosts).toContain(`${app.ipv4()} `)
      expect(await web.ping('app', { bytes: 100 })).toMatchObject({ bytes: 100 })
      expect(web.resolve('x.wild')).toBe(app.ipv4())
      const asking = web.start(['sh', '-c', 'getent ahostsv4 x.wild; exec sleep 600'])
      await asking.says(`${app.ipv4()} `)
      await asking.stop()
      const address = await web.exec(['ip', '-br', 'address', 'show', 'eth0'])
      expect(address).toMatchObject({ code: 0, stderr: '' })
      expect(address.stdout).toContain(`${web.ipv4()}/24`)
      expect(await web.exec(['cat'], { input: 'to and fro' })).toMatchObject({
        stdout: 'to and fro',
      })
      expect((await web.exec(['false'])).code).toBe(1)
      expect(() => web.udp(53)).toThrow('udp is for fabrics in memory')
      expect(() => fabric.link('web', 'front').cut()).toThrow('TAPs are not cut')
      const program = web.start(['sh', '-c', 'echo up; exec sleep 600'])
      await program.says('up')
      const never = program.says('never')
      never.catch(() => {})
      await program.stop()
      await expect(never).rejects.toThrow('sh ended before it said "never"')
    } finally {
      await fabric.close()
    }
    expect(ours()).toEqual([])
  })

  it('has no virtual clock', async () => {
    const both = createFabric({ devices: 'tap', clock: 'virtual' })
    await expect(both).rejects.toThrow('TAPs are on the system clock')
  })
})
