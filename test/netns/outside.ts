/** What files of tests with an outside have in common: a network of both families, an uplink. */
import { expect } from 'vitest'
import { ask, serve } from './ask.ts'
import type { Lab } from './lab.ts'

/** The outside's addresses, and the node's own on the way there. */
export const OUT4 = '203.0.113.1'
export const OUT6 = '2001:db8::1'
export const OWN4 = '203.0.113.2'
export const OWN6 = '2001:db8::2'

/** Network `front`, under `networks`. */
export const FRONT = `  front:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }`

/** Sandbox `name` on it, as the host `at` of both subnets, under `sandboxes`. */
export function onFront(lab: Lab, name: string, at: number): string {
  const addresses = `ipv4_address: 10.1.0.${at}, ipv6_address: "fd00:1::${at}"`
  return `  ${name}:
    netns: ${lab.ns(name)}
    networks: { front: { ${addresses} } }`
}

/** An uplink of both families by a TAP in namespace `out`. */
export function uplinkOf(lab: Lab): string {
  return `uplink:
  netns: ${lab.ns('out')}
  addresses: [ ${OWN4}/24, "${OWN6}/64" ]
  peer_addresses: [ ${OUT4}/24, "${OUT6}/64" ]
  gateway: [ ${OUT4}, "${OUT6}" ]`
}

/** Sandbox `app` reaches what is in `far`, by ping, TCP and UDP, and is seen as `seen`. */
export async function expectOut(
  lab: Lab,
  far: string,
  ways: readonly (readonly [to: string, seen: string])[],
): Promise<void> {
  for (const [to] of ways) expect(await lab.ping('app', to)).toBe(3)
  const server = await serve(lab, far, 7001)
  for (const [to, seen] of ways) expect(await ask(lab, 'app', to, 7001)).toBe(`from ${seen}`)
  server.kill('SIGKILL')
  const udp = await serve(lab, far, 7002, 'udp')
  for (const [to, seen] of ways) {
    expect(await ask(lab, 'app', to, 7002, 'udp')).toBe(`from ${seen}`)
  }
  udp.kill('SIGKILL')
}
