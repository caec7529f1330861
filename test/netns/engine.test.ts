/** Where io_uring is forbidden, a node says so and runs on the other engine. */
import { readFileSync, writeFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { Lab } from './lab.ts'

const SYSCTL = '/proc/sys/kernel/io_uring_disabled'

function file(lab: Lab): string {
  return `name: ${lab.prefix}
networks: { front: { ipam: { config: [ { subnet: 10.1.0.0/24 } ] } } }
sandboxes:
  a: { netns: ${lab.ns('a')}, networks: { front: { ipv4_address: 10.1.0.11 } } }
  b: { netns: ${lab.ns('b')}, networks: { front: { ipv4_address: 10.1.0.12 } } }
`
}

describe('choice of the engine', () => {
  let lab: Lab

  afterEach(() => lab.close())

  it('is io_uring where the kernel has it', async () => {
    lab = new Lab()
    await lab.up(file(lab))
    expect(lab.readyLine).toContain('io_uring')
  })

  it('is poll with kernel.io_uring_disabled=2, and the reason is logged', async () => {
    lab = new Lab()
    const before = readFileSync(SYSCTL, 'utf8')
    writeFileSync(SYSCTL, '2')
    try {
      await lab.up(file(lab))
      expect(lab.readyLine).toContain('poll')
      expect(lab.log).toMatch(/no io_uring: io_uring_setup: EPERM/)
      expect(await lab.ping('a', '10.1.0.12')).toBe(3)
      const forced = new Lab()
      await expect(forced.up(file(forced), ['--engine', 'io_uring'])).rejects.toThrow(/EPERM/)
      await forced.close()
    } finally {
      writeFileSync(SYSCTL, before)
    }
  })
})
