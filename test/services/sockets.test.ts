/** Sockets of daemons: taking over dead ones, not robbing living ones, finding the one meant. */

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  claimOwnPath,
  claimPath,
  findSocket,
  isAlive,
  livingSockets,
} from '../../services/sockets.ts'

let folder = ''
const servers: Server[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapline-sockets-'))
})

afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((done) => server.close(done))
  rmSync(folder, { recursive: true, force: true })
})

async function listen(path: string): Promise<void> {
  const server = createServer((socket) => socket.destroy())
  servers.push(server)
  await new Promise<void>((done) => server.listen(path, done))
}

/** A socket file whose owner was killed. */
function leaveDead(path: string): void {
  const script = 'net.createServer().listen(process.argv[1], () => process.kill(process.pid, 9))'
  spawnSync(process.execPath, ['-e', script, path])
  expect(statSync(path).isSocket()).toBe(true)
}

describe('claiming a path', () => {
  it('makes the folder', async () => {
    const path = join(folder, 'a/b/shop.sock')
    await claimPath(path)
    await listen(path)
    expect(await isAlive(path)).toBe(true)
  })

  it('makes no other folder for a daemon than the default one', async () => {
    const path = join(folder, 'a/b/shop.sock')
    const message = `${path}: there is no folder ${folder}/a/b`
    await expect(claimOwnPath(path)).rejects.toMatchObject({ code: 'bad-argument', message })
    expect(readdirSync(folder)).toEqual([])
    await claimOwnPath(join(folder, 'shop.sock'))
    const { XDG_RUNTIME_DIR: before } = process.env
    if (process.getuid?.() === 0) return
    process.env['XDG_RUNTIME_DIR'] = folder
    await claimOwnPath(join(folder, 'tapline/shop.sock'))
    if (before === undefined) delete process.env['XDG_RUNTIME_DIR']
    else process.env['XDG_RUNTIME_DIR'] = before
    expect(readdirSync(folder)).toEqual(['tapline'])
  })

  it("takes a dead daemon's socket away and leaves nothing beside it", async () => {
    const path = join(folder, 'shop.sock')
    leaveDead(path)
    expect(await isAlive(path)).toBe(false)
    await claimPath(path)
    expect(readdirSync(folder)).toEqual([])
    await listen(path)
    expect(await isAlive(path)).toBe(true)
  })

  it('refuses where a daemon lives, and leaves it alone', async () => {
    const path = join(folder, 'shop.sock')
    await listen(path)
    await expect(claimPath(path)).rejects.toMatchObject({ code: 'exists' })
    expect(await isAlive(path)).toBe(true)
  })

  it('does not remove what is not a socket', async () => {
    const path = join(folder, 'shop.sock')
    writeFileSync(path, 'precious')
    await expect(claimPath(path)).rejects.toThrow('is not a socket')
    expect(statSync(path).size).toBe(8)
  })

  it('refuses a path that the kernel could not take', async () => {
    await expect(claimPath(join(folder, 'x'.repeat(120)))).rejects.toThrow('at most 107 octets')
  })
})

describe('finding the daemon', () => {
  it('takes the only one that lives, in any of the folders', async () => {
    const other = join(folder, 'other')
    mkdirSync(other)
    leaveDead(join(folder, 'dead.sock'))
    await listen(join(other, 'shop.sock'))
    const dirs = [folder, other, join(folder, 'missing')]
    expect(await livingSockets(dirs)).toEqual([join(other, 'shop.sock')])
    expect(await findSocket({}, dirs)).toBe(join(other, 'shop.sock'))
  })

  it('asks which one if there are several, and takes the one that is named', async () => {
    await listen(join(folder, 'a.sock'))
    await listen(join(folder, 'b.sock'))
    await expect(findSocket({}, [folder])).rejects.toThrow(/several daemons.*a \(.*b \(/)
    expect(await findSocket({ name: 'b' }, [folder])).toBe(join(folder, 'b.sock'))
    await expect(findSocket({ name: 'c' }, [folder])).rejects.toThrow('no daemon "c"')
  })

  it('says how to start one if there is none, and believes a path', async () => {
    await expect(findSocket({}, [folder])).rejects.toThrow(/no daemon is running.*tapline up/)
    expect(await findSocket({ socket: '/x.sock' }, [folder])).toBe('/x.sock')
  })
})
