/** Lines for a reader that does not read, on real pipes and a full device. */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, statSync } from 'node:fs'
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

/** All whole lines of 100 octets that a stream keeps. */
async function drained(fd: number): Promise<string> {
  let read = ''
  await vi.waitFor(
    () => {
      read += drain(fd)
      expect(read.length).toBe(Math.floor((1024 * 1024) / 100) * 100)
    },
    { timeout: 10_000 },
  )
  return read
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
  const read = await drained(fd)
  expect(read.slice(-100)).toBe(line(read.length / 100 - 1))
})

it('goes on when a full disk has room again', async () => {
  const fd = openSync('/dev/full', constants.O_WRONLY)
  const stream = new LogStream(fd)
  for (let index = 0; index < 20_000; index++) stream.write(`${'x'.repeat(99)}\n`)
  await stream.flush()
  closeSync(fd)
  const dir = mkdtempSync(join(tmpdir(), 'tapline-log-'))
  ends.push(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'log')
  // The lowest number that is free, until it is this one.
  while (open(file, constants.O_WRONLY | constants.O_CREAT) !== fd);
  stream.write('the next\n')
  await stream.flush()
  expect(statSync(file).size).toBeGreaterThan(1_000_000)
})

it('lets the process end before a full pipe takes the last lines', async () => {
  const fd = pipe()
  await endsSoon(new LogStream(fd))
  // Its clock writes on, and would to whatever has the number next.
  await drained(fd)
})

it('lets the process end before a full disk takes the last lines', async () => {
  await endsSoon(new LogStream(open('/dev/full', constants.O_WRONLY)))
})

/** With more waiting than it keeps. */
async function endsSoon(stream: LogStream): Promise<void> {
  for (let index = 0; index < 20_000; index++) stream.write(`${'x'.repeat(99)}\n`)
  const before = performance.now()
  await stream.flush()
  expect(performance.now() - before).toBeLessThan(5000)
}
