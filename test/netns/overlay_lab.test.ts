/** `tapline lab`: nodes in namespaces, on real TAPs and sockets, and nothing left afterwards. */
import { execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { run } from './lab.ts'

const CLI = join(import.meta.dirname, '../../dist/services/cli/main.js')

function namespaces(pid: number): string[] {
  const all = execFileSync('ip', ['netns', 'list']).toString().split('\n')
  return all.filter((line) => line.startsWith(`lab${pid}-`))
}

test.each([
  ['their files', []],
  ['gossip', ['--gossip']],
])('nodes that know by %s reach each other, and tables are right', async (_, args) => {
  const command = [process.execPath, CLI, 'lab', '--nodes', '3', '--check', ...args]
  const { code, stdout, stderr } = await run(command, 110_000)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/every node reaches every other/)
})

test('a lab can be interrupted, also while it begins', async () => {
  const lab = spawn(process.execPath, [CLI, 'lab', '--nodes', '2'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise<number | null>((resolve) => lab.once('close', resolve))
  await new Promise<void>((resolve) => {
    const look = setInterval(() => {
      if (namespaces(lab.pid!).length === 0) return
      clearInterval(look)
      resolve()
    }, 50)
  })
  lab.kill('SIGINT')
  expect(await ended).not.toBeNull()
  expect(namespaces(lab.pid!)).toEqual([])
})
