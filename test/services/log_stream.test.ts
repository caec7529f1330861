/** Lines for a reader that does not read, on real pipes and a full device. */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { LogStream } from '../../services/cli/log_stream.ts'

const ends: Array<() => void> = []

afterEach(() => {
  for (const end of ends.splice(0).reverse()) end()
})

function open(path: string, flags: number): number {
  const fd = openSync(path, flags)
  ends.push(() => closeSync(fd))
  return fd
}

/** Both ends of a pipe that never blocks. */
function pipe(): number {
  const dir = mkdtempSync(join(tmpdir(), 'tapline-log-'))
  ends.push(() => rmSync(dir, { recursive: true }))
  execFileSync('mkfifo', [join(dir, 'pipe')])
  return open(join(dir, 'pipe'), constants.O_RDWR | constants.O_NONBLOCK)
}

function drain(fd: number): string {
  const room = Buffer.alloc(1024 * 1024)
  try {
    return room.toString('utf8', 0, readSync(fd, room))
  } catch {
    return ''
  }
}

it('writes lines in their order', async () => {
  const fd = pipe()
  const stream = new LogStream(fd)
  for (const line of ['one\n', 'two\n', 'three\n']) stream.write(line)
  await stream.flush()
  expect(drain(fd)).toBe('one\ntwo\nthree\n')
})

it('keeps a megabyte for a pipe that nobody reads, and writes it when somebody does', async () => {
  const fd = pipe()
  const stream = new LogStream(fd)
  const line = (index: number) => `${String(index).padStart(99, '0')}\n`
  for (let index = 0; index < 20_000; index++) stream.write(line(index))
  let read = ''
  await vi.waitFor(
    () => {
      read += drain(fd)
      expect(read.length).toBe(Math.floor((1024 * 1024) / 100) * 100)
    },
    { timeout: 10_000 },
  )
  expect(read.slice(-100)).toBe(line(read.length / 100 - 1))
})

it.each([
  ['a full pipe', () => pipe()],
  ['a full disk', () => open('/dev/full', constants.O_WRONLY)],
])('lets the process end before %s takes the last lines', async (_, sink) => {
  const stream = new LogStream(sink())
  for (let index = 0; index < 20_000; index++) stream.write(`${'x'.repeat(99)}\n`)
  const before = performance.now()
  await stream.flush()
  expect(performance.now() - before).toBeLessThan(5000)
})
