/** A file that changes is noticed, however that is done; and the node's namespaces follow it. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { watchFile } from '../../../services/dns/resolv_watch.ts'
import { createFabric } from '../../../services/fabric/library.ts'
import { MemoryHost } from './memory_host.ts'

it('notices writes, replacements, and another end of the link', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tapline-watch-'))
  const path = join(folder, 'resolv.conf')
  const [first, second] = ['first', 'second'].map((name) => {
    mkdirSync(join(folder, name))
    const file = join(folder, name, 'stub.conf')
    writeFileSync(file, name)
    return file
  })
  symlinkSync(first!, path)
  let seen = 0
  const cancel = watchFile(path, () => seen++)
  const noticed = async (change: () => void): Promise<void> => {
    const before = seen
    change()
    await expect.poll(() => seen, { timeout: 10_000 }).toBeGreaterThan(before)
  }
  const replace = (target: string): void => {
    writeFileSync(`${target}.new`, 'new')
    renameSync(`${target}.new`, target)
  }
  try {
    await noticed(() => writeFileSync(first!, 'more'))
    await noticed(() => replace(first!))
    await noticed(() => writeFileSync(first!, 'more of it'))
    await noticed(() => {
      symlinkSync(second!, `${path}.new`)
      renameSync(`${path}.new`, path)
    })
    await noticed(() => writeFileSync(second!, 'more'))
    await noticed(() => rmSync(path))
    await noticed(() => writeFileSync(path, 'a file now'))
    cancel()
    const before = seen
    replace(path)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(seen).toBe(before)
  } finally {
    cancel()
    rmSync(folder, { recursive: true })
  }
})

it("hands the host's search list on while sandboxes stay", async () => {
  const host = new MemoryHost()
  const files = new Map<string, string | undefined>()
  let changed: (() => void) | undefined
  host.setResolvConf = (netns, text) => files.set(netns, text)
  host.watchResolvers = (told) => {
    changed = told
    return () => {
      changed = undefined
    }
  }
  const fabric = await createFabric({ dns: () => host })
  fabric.controller.node.context.links.made = () => true
  await fabric.network('front', { subnets: ['10.1.0.0/24'] })
  await fabric.sandbox('web', { networks: ['front'] })
  expect(files.get('web')).not.toContain('search')
  host.host = { ...host.host, search: ['corp.example'] }
  changed!()
  expect(files.get('web')).toContain('nameserver 10.1.0.1\nsearch corp.example\n')
  await fabric.close()
  expect(files.get('web')).toBeUndefined()
  expect(changed).toBeUndefined()
})
