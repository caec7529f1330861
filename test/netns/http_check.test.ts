/**
 * A health check by HTTP asks in the namespace of its backend: a server that listens on the
 * loopback of that namespace, where nothing of this process's own could reach it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Verdict } from '../../services/balancer/health.ts'
import { httpCheck } from '../../services/balancer/http_check.ts'
import { parseAddress } from '../../stack/address.ts'
import { SystemClock } from '../../stack/clock.ts'
import { inetSocket } from '../../stack/native/inet_socket.ts'
import { addNetns, deleteNetns, inNetns } from '../../stack/native/netns.ts'

const NETNS = `tl-http-${process.pid}`
const SERVER = `
require('http').createServer((asked, answer) => {
  if (asked.url === '/slow') return
  answer.statusCode = Number(asked.url.slice(1))
  answer.end('x'.repeat(100000))
}).listen(8080, '::', () => console.log('listens'))`
let server: ChildProcess | undefined

beforeAll(async () => {
  addNetns(NETNS)
  execFileSync('ip', ['-n', NETNS, 'link', 'set', 'lo', 'up'])
  const inside = ['netns', 'exec', NETNS, process.execPath, '-e', SERVER]
  const child = spawn('ip', inside, { stdio: ['ignore', 'pipe', 'inherit'] })
  server = child
  await new Promise((resolve) => child.stdout.once('data', resolve))
})

afterAll(() => {
  server?.kill()
  deleteNetns(NETNS)
})

const clock = new SystemClock()

interface Ask {
  readonly path?: string
  readonly port?: number
  readonly netns?: string
  readonly timeoutMs?: number
}

function check(address: string, ask: Ask, done: (verdict: Verdict) => void): () => void {
  const { path = '/200', port = 8080, netns = NETNS, timeoutMs = 2000 } = ask
  const openSocket = (family: 4 | 6): number => inNetns(netns, () => inetSocket('tcp', family))
  const config = { type: 'http', port, path, intervalMs: 2000, timeoutMs } as const
  const full = { ...config, retries: 3, rise: 1, slowStartMs: 0 }
  return httpCheck({ clock, openSocket }, full, parseAddress(address))(done)
}

function verdict(address: string, ask: Ask = {}): Promise<Verdict> {
  return new Promise((resolve) => check(address, ask, resolve))
}

test.each(['127.0.0.1', '::1'])('asks %s', async (address) => {
  expect(await verdict(address)).toEqual({ healthy: true, detail: 'HTTP 200' })
  const moved = await verdict(address, { path: '/302' })
  expect(moved).toEqual({ healthy: true, detail: 'HTTP 302' })
  const failing = await verdict(address, { path: '/503' })
  expect(failing).toEqual({ healthy: false, detail: 'HTTP 503' })
  const closed = await verdict(address, { port: 81 })
  expect(closed.healthy).toBe(false)
  expect(closed.detail).toContain('ECONNREFUSED')
  const slow = await verdict(address, { path: '/slow', timeoutMs: 50 })
  expect(slow).toEqual({ healthy: false, detail: 'no answer in 50 ms' })
  expect(clock.pending).toBe(0)
})

test('a namespace that is gone, and a check taken back', async () => {
  const gone = await verdict('127.0.0.1', { netns: `${NETNS}-none` })
  expect(gone.healthy).toBe(false)
  expect(gone.detail).toContain(`${NETNS}-none`)
  let told = 0
  check('127.0.0.1', {}, () => told++)()
  check('127.0.0.1', { netns: `${NETNS}-none` }, () => told++)()
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(told).toBe(0)
  expect(clock.pending).toBe(0)
})
