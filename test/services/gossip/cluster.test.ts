/** Clusters in memory and virtual time: what members are told, and how soon. */
import { afterEach, describe, expect, it } from 'vitest'
import { GossipLab, hostAddress, PORT } from './lab.ts'

const labs: GossipLab[] = []

async function cluster(count: number, seed: number, lossPct = 0): Promise<GossipLab> {
  const lab = await GossipLab.of(count, seed, { lossPct, jitterMs: 2 })
  labs.push(lab)
  return lab
}

afterEach(() => {
  for (const lab of labs.splice(0)) lab.close()
})

describe('a cluster', () => {
  it('sees all members soon after they join', async () => {
    const lab = new GossipLab(1)
    labs.push(lab)
    for (let i = 1; i <= 16; i++) lab.add(`n${i}`)
    expect(await lab.until(() => lab.agree(), 10_000)).toBeLessThan(3000)
  })

  it("notices a dead member in the protocol's time, and nothing else", async () => {
    const times: number[] = []
    for (let seed = 1; seed <= 8; seed++) {
      const lab = await cluster(10, seed)
      const [victim] = lab.hosts.slice(4)
      const atMs = lab.clock.nowMs
      lab.kill(victim!)
      await lab.run(40_000)
      const told = lab.timesTold('fail', 'n5', atMs)
      expect(told).toHaveLength(9)
      times.push(Math.max(...told))
      const events = lab.living.flatMap((host) => host.told.filter(({ atMs: at }) => at > atMs))
      expect(events.filter(({ event }) => event !== 'fail')).toEqual([])
    }
    // A probe within some seconds, 4 s of suspicion once it is confirmed, and some gossip.
    expect(Math.max(...times)).toBeLessThan(20_000)
    expect(Math.min(...times)).toBeGreaterThan(4000)
  })

  it('has no false positives under 30 % loss', async () => {
    for (let seed = 1; seed <= 2; seed++) {
      const lab = await cluster(12, seed)
      lab.network.faults = { ...lab.network.faults, lossPct: 30 }
      const atMs = lab.clock.nowMs
      await lab.run(4 * 60_000)
      const failed = lab.hosts.flatMap(({ told }) => {
        return told.filter(({ event, atMs: at }) => event === 'fail' && at > atMs)
      })
      expect({ seed, failed }).toEqual({ seed, failed: [] })
      // The losses were real: members were suspected, and refuted it.
      const suspicions = lab.hosts.map(({ serf }) => serf.counters.suspicions)
      expect(Math.max(...suspicions)).toBeGreaterThan(0)
    }
  })

  it('is two clusters while it is partitioned, and one again after', async () => {
    const lab = await cluster(9, 3)
    const sides = [lab.hosts.slice(0, 4), lab.hosts.slice(4)]
    lab.network.partition(sides.map((side) => side.map(({ transport }) => transport)))
    const sees = (side: (typeof lab)['hosts'], count: number): boolean =>
      side.every(({ serf }) => {
        return serf.members().filter(({ state }) => state === 'alive').length === count
      })
    await lab.until(() => sees(sides[0]!, 4) && sees(sides[1]!, 5), 120_000)
    expect(sees(sides[0]!, 4) && sees(sides[1]!, 5)).toBe(true)
    await lab.run(300_000)
    lab.network.heal()
    expect(await lab.until(() => lab.agree(), 180_000)).toBeLessThan(90_000)
  })

  it('notices at once who leaves, and does not call it a failure', async () => {
    const lab = await cluster(8, 4)
    const atMs = lab.clock.nowMs
    await lab.leave(lab.hosts[3]!)
    await lab.run(30_000)
    const told = lab.timesTold('leave', 'n4', atMs)
    expect(told).toHaveLength(7)
    expect(Math.max(...told)).toBeLessThan(500)
    expect(lab.timesTold('fail', 'n4', atMs)).toEqual([])
    expect(
      lab.living.map(({ serf }) => serf.members().find((m) => m.name === 'n4')?.state),
    ).toEqual(Array(7).fill('left'))
  })

  it('takes a member back that restarts: before it is missed, failed, left', async () => {
    const lab = await cluster(5, 5)
    const restart = async (gone: 'killed' | 'failed' | 'left'): Promise<void> => {
      const old = lab.hosts.find(({ serf, alive }) => alive && serf.self.name === 'n3')!
      if (gone === 'left') await lab.leave(old)
      else lab.kill(old)
      if (gone === 'failed') {
        await lab.until(() => lab.timesTold('fail', 'n3').length === 4, 60_000)
      }
      lab.add('n3', { at: 3, tags: { run: gone } })
      expect(await lab.until(() => lab.agree(), 60_000)).toBeLessThan(35_000)
      await lab.run(60_000)
      expect(lab.agree()).toBe(true)
      for (const { serf } of lab.living) {
        const member = serf.members().find(({ name }) => name === 'n3')
        expect(member?.tags).toMatchObject({ run: gone })
      }
    }
    await restart('killed')
    await restart('failed')
    await restart('left')
  })

  it('forgets the old name of a host that comes back with another', async () => {
    const lab = await cluster(4, 6)
    lab.kill(lab.hosts[1]!)
    lab.add('renamed', { at: 2 })
    expect(await lab.until(() => lab.agree(), 90_000)).toBeLessThan(60_000)
    for (const { serf } of lab.living) {
      expect(serf.members().map(({ name }) => name)).not.toContain('n2')
    }
  })

  it('lets a failed name come back from another address, later', async () => {
    const lab = await cluster(4, 7)
    lab.kill(lab.hosts[2]!)
    await lab.run(60_000)
    lab.add('n3', { at: 33 })
    expect(await lab.until(() => lab.agree(), 90_000)).toBeLessThan(60_000)
    const [host] = lab.hosts
    expect(host!.serf.members().find(({ name }) => name === 'n3')?.address).toEqual(hostAddress(33))
  })

  it('keeps a name for the first that has it', async () => {
    const lab = await cluster(4, 8)
    const second = lab.add('n2', { at: 22 })
    await lab.run(60_000)
    for (const { serf } of lab.hosts.slice(0, 4)) {
      expect(serf.members().find(({ name }) => name === 'n2')?.address).toEqual(hostAddress(2))
    }
    const errors = second.serf.join([{ address: hostAddress(1), port: PORT }])
    await lab.run(1000)
    expect((await errors).map(({ code }) => code)).toEqual(['exists'])
    second.alive = false
  })

  it('tells user events once to everybody, not those from before a join', async () => {
    const lab = await cluster(6, 9)
    lab.hosts[0]!.serf.event('deploy', Buffer.from('v1'))
    lab.hosts[4]!.serf.event('deploy', Buffer.from('v2'))
    await lab.run(5000)
    expect(lab.hosts.map(({ events }) => events)).toEqual(Array(6).fill(['deploy', 'deploy']))
    const late = lab.add('late')
    await lab.run(40_000)
    expect(late.events).toEqual([])
    late.serf.event('after', new Uint8Array(0))
    await lab.run(5000)
    expect(lab.hosts.map(({ events }) => events.at(-1))).toEqual(Array(7).fill('after'))
  })

  it('carries messages between members, also large ones', async () => {
    const lab = await cluster(3, 10, 20)
    const [a, b] = lab.hosts
    const to = a!.serf.members().find(({ name }) => name === 'n2')!
    const large = 'x'.repeat(300_000)
    let handedOver = false
    void a!.serf.sendReliable(to, Buffer.from(large)).then(() => {
      handedOver = true
    })
    await lab.until(() => handedOver, 10_000)
    expect(b!.messages).toEqual([large])
    lab.network.faults = { ...lab.network.faults, lossPct: 0 }
    a!.serf.send(to, new Uint8Array(a!.serf.messageBytesMax).fill(0x79))
    await lab.run(100)
    expect(b!.messages[1]).toBe('y'.repeat(a!.serf.messageBytesMax))
    lab.kill(b!)
    const lost = a!.serf.sendReliable(to, Buffer.from('lost')).then(
      () => 'sent',
      (error: { code: string }) => error.code,
    )
    await lab.run(15_000)
    expect(await lost).toBe('daemon')
  })

  it('runs the same for the same seed', async () => {
    const history = async (): Promise<unknown> => {
      const lab = await cluster(7, 11, 10)
      lab.kill(lab.hosts[2]!)
      await lab.run(60_000)
      return lab.hosts.map(({ told, transport }) => [told, transport.counters])
    }
    expect(await history()).toEqual(await history())
  })

  it('leaves no timer behind, and none runs but probes and push/pulls', async () => {
    const lab = await cluster(3, 12)
    await lab.run(120_000)
    const sent = lab.hosts.map(({ transport }) => transport.counters.datagramsOut)
    await lab.run(60_000)
    for (const [i, { transport }] of lab.hosts.entries()) {
      // A ping and an ack a second, on average.
      expect(transport.counters.datagramsOut - sent[i]!).toBeLessThan(150)
    }
    lab.close()
    expect(lab.clock.pending).toBeLessThan(30)
  })
})
