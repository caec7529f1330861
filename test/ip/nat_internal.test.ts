/** Internal networks and rules: what is published comes in, and nothing else gets in or out. */
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import { tcp } from './lab.ts'
import { end, mappingOf, NatLab, PLAN4, PLAN6, type Plan, Turns } from './nat_lab.ts'

const SYN = 2
const SYN_ACK = 0x12
const ACK = 0x10

type End = readonly [string, number]

function segment([from, port]: End, [to, toPort]: End, flags: number, seq = 0): Uint8Array {
  const fields = { from: port, to: toPort, flags, seq, ack: flags === SYN ? 0 : 1 }
  return tcp({ from, to }, fields, new Uint8Array(0))
}

describe.each([
  ['IPv4', PLAN4, '10.3.0'],
  ['IPv6', PLAN6, 'fd00:3::'],
])('an internal network, %s', (_, plan: Plan, prefix) => {
  const { client, gateway, outside, server, uplink, family } = plan
  const at = (number: number) => (family === 4 ? `${prefix}.${number}` : `${prefix}${number}`)
  const [own, host, other, vip] = [at(1), at(33), at(34), at(100)]

  function open(): { lab: NatLab; deep: RouterInterface } {
    const lab = new NatLab()
    const deep = lab.leg('deep', ['10.3.0.1/24', 'fd00:3::1/64'], { internal: true })
    for (const address of [host, other]) lab.host(deep, address)
    lab.router.addAddress(deep, parseAddress(vip))
    return { lab, deep }
  }

  function addService(lab: NatLab, address: string, port: number, shared: boolean): void {
    const balance = new Turns([host])
    const fields = { protocol: 6, port, targetPort: 80, balance, shared } as const
    lab.nat.addService({ ...fields, address: parseAddress(address) })
  }

  /** Nothing is sent, and a trace says why. */
  function refuses(lab: NatLab, from: RouterInterface, packet: Uint8Array): void {
    const before = lab.drops()['network-internal'] ?? 0
    expect(lab.trace(from, packet).at(-1)).toBe('dropped: network-internal')
    expect(lab.lines(from, packet)).toEqual([])
    expect(lab.lines(from, packet), 'sent twice').toEqual([])
    expect(lab.drops()).toEqual({ 'network-internal': before + 2 })
    expect(lab.conntrack.count).toBe(0)
  }

  it('keeps its virtual addresses to itself', () => {
    const { lab, deep } = open()
    addService(lab, vip, 80, false)
    refuses(lab, lab.front, segment([client, 700], [vip, 80], SYN))
    expect(lab.line(deep, segment([other, 700], [vip, 80], SYN))).toBe(
      `deep ${end(other, 700)} > ${end(host, 80)} tcp`,
    )
    lab.end()
  })

  it('lets in what is published there, and its answers out', () => {
    const { lab, deep } = open()
    addService(lab, vip, 80, false)
    addService(lab, gateway, 8099, true)
    expect(lab.line(lab.front, segment([client, 700], [gateway, 8099], SYN))).toBe(
      `deep ${end(client, 700)} > ${end(host, 80)} tcp`,
    )
    expect(lab.line(deep, segment([host, 80], [client, 700], SYN_ACK))).toBe(
      `front ${end(gateway, 8099)} > ${end(client, 700)} tcp`,
    )
    expect(lab.line(lab.front, segment([client, 700], [gateway, 8099], ACK, 1))).toBe(
      `deep ${end(client, 700)} > ${end(host, 80)} tcp`,
    )
    lab.nat.publish(mappingOf(other))
    expect(lab.line(lab.up, segment([outside, 700], [uplink, 8080], SYN))).toBe(
      `deep ${end(outside, 700)} > ${end(other, 80)} tcp`,
    )
    lab.end()
  })

  it('leads nobody out by ports and addresses of other networks', () => {
    const { lab, deep } = open()
    lab.nat.publish(mappingOf(server))
    const far = family === 4 ? '10.2.0.100' : 'fd00:2::100'
    lab.router.addAddress(lab.back, parseAddress(far))
    const balance = new Turns([server])
    const service = { protocol: 6, port: 80, targetPort: 80, balance } as const
    lab.nat.addService({ ...service, address: parseAddress(far) })
    for (const to of [
      [own, 8080],
      [uplink, 8080],
      [far, 80],
    ] as const) {
      refuses(lab, deep, segment([host, 700], to, SYN))
    }
    lab.end()
  })

  it('reaches its own published ports by its gateway', () => {
    const { lab, deep } = open()
    lab.nat.publish(mappingOf(host))
    expect(lab.line(deep, segment([other, 700], [own, 8080], SYN))).toBe(
      `deep ${end(other, 700)} > ${end(host, 80)} tcp`,
    )
    lab.end()
  })
})
