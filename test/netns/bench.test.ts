/** The benchmark itself: it measures, and leaves nothing behind when it is interrupted. */
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const MAIN = join(import.meta.dirname, '..', '..', 'dist', 'bench', 'main.js')
const hasIperf = spawnSync('iperf3', ['--version']).status === 0
const { CI } = process.env
const wanted = hasIperf || CI === 'true'

interface Ended {
  readonly pid: number
  readonly code: number | null
  readonly out: string
}

/** Run it; at the first line of output that matches, send SIGINT. */
function bench(argv: readonly string[], interrupt?: RegExp): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...argv])
  let out = ''
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  let told = ''
  child.stderr.on('data', (chunk) => {
    told += chunk
    if (interrupt?.test(told)) child.kill('SIGINT')
  })
  return new Promise((resolve) => {
    child.on('close', (code) => resolve({ pid: child.pid!, code, out }))
  })
}

/** Namespaces, folders and processes that carry the run's prefix. */
function leftovers(pid: number): string[] {
  const prefix = `tlb${pid}-`
  const netns = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout.split('\n')
  return [...netns, ...readdirSync(tmpdir())].filter((name) => name.startsWith(prefix))
}

describe.runIf(wanted)('bench (needs iperf3)', () => {
  it('measures tapline beside the kernel', async () => {
    const systems = 'tapline,kernel-bridge'
    const argv = [
      '--only',
      'tcp,tcp-plain,frames,rtt,connect',
      '--systems',
      systems,
      '--rounds',
      '1',
    ]
    const { pid, code, out } = await bench([...argv, '--seconds', '1', '--json'])
    const { samples, failures, skipped } = JSON.parse(out)
    expect(failures).toEqual([])
    expect(skipped).toEqual([])
    expect(code).toBe(0)
    for (const system of systems.split(',')) {
      expect(samples.tcp[system].gbit[0]).toBeGreaterThan(0)
      expect(samples['tcp-plain'][system].cpuSPerGb[0]).toBeGreaterThan(0)
      expect(samples.frames[system].kFrames[0]).toBeGreaterThan(0)
      expect(samples.rtt[system].p99Us[0]).toBeGreaterThanOrEqual(samples.rtt[system].medianUs[0])
    }
    expect(samples.connect.tapline.kConnects[0]).toBeGreaterThan(0)
    expect(samples.connect.tapline.failed[0]).toBe(0)
    expect(leftovers(pid)).toEqual([])
  })

  it('leaves nothing behind when it is interrupted', async () => {
    const argv = ['--only', 'tcp', '--systems', 'tapline,kernel-bridge', '--seconds', '2']
    const { pid, code } = await bench(argv, /\[ 1\/10\]/)
    expect(code).toBe(130)
    expect(leftovers(pid)).toEqual([])
  })

  it('refuses what it does not know', async () => {
    const { code } = await bench(['--only', 'nonsense'])
    expect(code).toBe(2)
  })
})
