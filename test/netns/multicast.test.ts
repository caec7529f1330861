/**
 * Multicast between real sandboxes: kernels join and leave by their own IGMP and MLD, and only they
 * get the group, which their interfaces count. Of both families; with snooping and without.
 */
import { afterEach, describe, expect, it } from 'vitest'
import type { MemberRow } from '../../services/views_groups.ts'
import { Lab } from './lab.ts'
import { COUNT, FEW, GROUPS, RECEIVER, SENDER, SETTLED_MS } from './multicast_programs.ts'
import { Talk } from './talk.ts'

const NAMES = ['src', 'one', 'two', 'deaf'] as const

let lab: Lab
afterEach(async () => lab.close())

/** Frames that an interface received, as the kernel counts them. */
async function received(name: string): Promise<number> {
  const { stdout } = await lab.exec(name, 'ip', '-s', '-json', 'link', 'show', 'dev', 'eth0')
  const [link] = JSON.parse(stdout) as { stats64: { rx: { packets: number } } }[]
  return link!.stats64.rx.packets
}

async function start(driverOpts: string): Promise<Map<string, Talk>> {
  lab = new Lab()
  const sandbox = (name: string, at: number): string => `  ${name}:
    netns: ${lab.ns(name)}
    networks: { front: { ipv4_address: 10.1.0.${at}, ipv6_address: "fd00:1::${at}" } }`
  await lab.up(`name: ${lab.prefix}
networks:
  front:
    enable_ipv6: true
    driver_opts: { ${driverOpts} }
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }
sandboxes:
${NAMES.map((name, i) => sandbox(name, 11 + i)).join('\n')}
`)
  const talks = new Map<string, Talk>()
  for (const [i, name] of NAMES.entries()) {
    const talk = new Talk(lab, name, name === 'src' ? SENDER : RECEIVER, `10.1.0.${11 + i}`)
    talks.set(name, talk)
    await talk.hear()
  }
  return talks
}

async function say(talk: Talk, line: string): Promise<void> {
  talk.say(line)
  await talk.hear()
}

/** What the programs got, and which interfaces, while that many were sent. */
async function sent(
  talks: Map<string, Talk>,
  group: string,
): Promise<{ programs: number[]; interfaces: number[] }> {
  const family = group.includes(':') ? 'six' : 'four'
  const names = NAMES.slice(1)
  const programs = async (): Promise<number[]> =>
    Promise.all(
      names.map(
        async (name) => (await talks.get(name)!.ask<{ four: number; six: number }>(''))[family],
      ),
    )
  const interfaces = async (): Promise<number[]> => Promise.all(names.map(received))
  const before = { programs: await programs(), interfaces: await interfaces() }
  await say(talks.get('src')!, group)
  const after = { programs: await programs(), interfaces: await interfaces() }
  const less = (a: number[], b: number[]): number[] => a.map((count, i) => count - b[i]!)
  return {
    programs: less(after.programs, before.programs),
    interfaces: less(after.interfaces, before.interfaces),
  }
}

describe('with snooping', () => {
  it('groups go to who joined them, and to nobody else', { timeout: 90_000 }, async () => {
    const talks = await start('tapline.igmp_snooping: "true"')
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MS))
    for (const group of GROUPS) {
      await say(talks.get('one')!, `+${group}`)
      await say(talks.get('two')!, `+${group}`)
      const both = await sent(talks, group)
      expect(both.programs).toEqual([COUNT, COUNT, 0])
      expect(both.interfaces[2]).toBeLessThan(FEW)
      const rows = await lab.json<MemberRow[]>('groups', 'front')
      const members = rows.filter((row) => row.group === group).map(({ port }) => port)
      expect(members.sort()).toEqual(['one/eth0', 'two/eth0'])

      await say(talks.get('two')!, `-${group}`)
      await new Promise((resolve) => setTimeout(resolve, 1500))
      const one = await sent(talks, group)
      expect(one.programs).toEqual([COUNT, 0, 0])
      expect(one.interfaces[0]).toBeGreaterThanOrEqual(COUNT)
      expect(one.interfaces[1]).toBeLessThan(FEW)
      expect(one.interfaces[2]).toBeLessThan(FEW)
    }
    const { stdout } = await lab.cli('inspect', 'front')
    expect(stdout).toMatch(/multicast: +snooping, querier: self \(IPv4\), self \(IPv6\)/)
    // A report that nobody has to hear is used, not lost.
    const drops = await lab.json<{ reason: string }[]>('drops')
    expect(drops.map(({ reason }) => reason)).not.toContain('group-malformed')
  })
})

describe('without', () => {
  it('they go to everybody', { timeout: 60_000 }, async () => {
    const talks = await start('tapline.igmp_snooping: "false"')
    for (const group of GROUPS) {
      await say(talks.get('one')!, `+${group}`)
      const { programs, interfaces } = await sent(talks, group)
      expect(programs).toEqual([COUNT, 0, 0])
      expect(interfaces[2]).toBeGreaterThanOrEqual(COUNT)
    }
    expect(await lab.json('groups')).toEqual([])
  })
})
