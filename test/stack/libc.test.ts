/** What of the system calls is more than a call. */
import { mkdtempSync, openSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it, onTestFinished } from 'vitest'
import { addressOf, closeAway } from '../../stack/native/libc.ts'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

it('closes hundreds of descriptors on other threads', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tapline-close-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'file')
  writeFileSync(file, '')
  const openOnes = (): number => readdirSync('/proc/self/fd').filter((fd) => isOf(fd, file)).length
  const all = Array.from({ length: 600 }, () => openSync(file, 'r'))
  expect(openOnes()).toBe(600)
  for (const fd of all) closeAway(fd)
  await expect.poll(openOnes, { timeout: 20_000 }).toBe(0)
})

it('keeps memory whose address was taken, until the next', async () => {
  const told = (): WeakRef<ArrayBufferLike> => {
    const data = new Uint8Array(1024)
    addressOf(data)
    return new WeakRef(data.buffer)
  }
  const [first, second] = [told(), told()]
  // A reference holds until its turn has ended.
  await setImmediate()
  collect()
  expect([first.deref(), second.deref()?.byteLength]).toEqual([undefined, 1024])
})

function isOf(fd: string, file: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === file
  } catch {
    return false
  }
}
