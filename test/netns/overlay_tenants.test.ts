/**
 * Two tenants with one subnet on the same two hosts: overlays without a gateway, kept apart by
 * their VNIs alone, on real TAPs.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Lab, labIn } from './lab.ts'
import { makeWire } from './wire.ts'

const TENANTS = [
  { name: 'red', vni: 7001, mac: '02:00:00:00:01' },
  { name: 'blue', vni: 7002, mac: '02:00:00:00:02' },
] as const

describe.each(['io_uring', 'poll'] as const)('overlays of one subnet, %s', (engine) => {
  const wire = makeWire()
  const labs = wire.names.map(labIn)
  const [one, two] = labs as [Lab, Lab]

  const file = (i: number): string => `
name: tenants${i}
node: { name: n${i}, underlay: { address: 10.200.0.${i} }, peers: [ 10.200.0.${3 - i} ] }
networks:
${TENANTS.map(
  ({ name, vni, mac }) => `  ${name}:
    driver: overlay
    internal: true
    enable_ipv6: true
    driver_opts:
      tapline.gateway: "false"
      com.docker.network.driver.overlay.vxlanid_list: "${vni}"
    ipam: { config: [ { subnet: 10.2.0.0/24 }, { subnet: "fd00:2::/64" } ] }
    remote:
      - vtep: 10.200.0.${3 - i}
        mac: "${mac}:1${3 - i}"
        ipv4_address: 10.2.0.1${3 - i}
        ipv6_address: fd00:2::1${3 - i}`,
).join('\n')}
sandboxes:
${TENANTS.map(
  ({ name, mac }) => `  ${name}:
    netns: ${labs[i - 1]!.ns(name)}
    networks:
      ${name}:
        ipv4_address: 10.2.0.1${i}
        ipv6_address: fd00:2::1${i}
        mac_address: "${mac}:1${i}"`,
).join('\n')}
`

  beforeAll(async () => {
    for (const [i, lab] of labs.entries()) await lab.up(file(i + 1), ['--engine', engine])
  }, 90_000)

  afterAll(async () => {
    for (const lab of labs) await lab.close()
    wire.remove()
  })

  it.each(['10.2.0.12', 'fd00:2::12'])(
    'reach their own at %s, and nobody of the other',
    async (to) => {
      for (const { name, mac } of TENANTS) {
        expect(await one.ping(name, to)).toBe(3)
        const { stdout } = await one.exec(name, 'ip', 'neigh', 'show', to)
        expect(stdout).toContain(`lladdr ${mac}:12`)
      }
      // With one tenant's end cut, the other's does not answer in its place.
      await two.exec('red', 'ip', 'link', 'set', 'eth0', 'down')
      expect(await one.ping('red', to)).toBe(0)
      expect(await one.ping('blue', to)).toBe(3)
      await two.exec('red', 'ip', 'link', 'set', 'eth0', 'up')
      await two.exec('red', 'ip', 'addr', 'replace', 'fd00:2::12/64', 'dev', 'eth0', 'nodad')
    },
  )

  it('find no gateway, and nobody of the other by a broadcast', async () => {
    expect(await one.ping('red', '10.2.0.1')).toBe(0)
    const { stdout } = await one.exec('red', 'ip', 'route', 'show', 'default')
    expect(stdout).toBe('')
    const asked = await one.exec('red', 'ping', '-b', '-c2', '-W2', '10.2.0.255')
    expect(asked.stdout).not.toContain('bytes from 10.2.0.12')
  })
})
