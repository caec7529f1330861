/** The library on TAPs: sandboxes are network namespaces, and commands run inside. */
import { readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { createFabric } from '../../services/fabric/fabric.ts'

function ours(): string[] {
  return readdirSync('/var/run/netns').filter((name) => name.startsWith(`tl${process.pid}-`))
}

describe('fabric on TAPs', () => {
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
