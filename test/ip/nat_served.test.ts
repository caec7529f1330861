/** Ports of the router's own services stay its own at gateways, whatever is published anywhere. */
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { tcp, udp } from './lab.ts'
import { end, mappingOf, NatLab, PLAN4, PLAN6, type Plan } from './nat_lab.ts'

const SYN = 2
const PORT = 53

describe.each([
  ['IPv4', PLAN4],
  ['IPv6', PLAN6],
])('a service of the router, %s', (_, plan: Plan) => {
  const { client, gateway, backGateway, sibling, server, uplink, outside } = plan
  const ask = (from: string, port: number, to: string) =>
    udp({ from, to }, { from: port, to: PORT }, Uint8Array.of(1))
  const syn = (port: number) =>
    tcp({ from: client, to: gateway }, { from: port, to: PORT, flags: SYN }, new Uint8Array(0))

  it('hears its own networks at their gateways, before any address', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(server, { protocol: 17, port: PORT, targetPort: PORT }))
    const led = (from: string, port: number) => `back ${end(from, port)} > ${end(server, 53)} udp`
    expect(lab.line(lab.front, ask(client, 700, gateway))).toBe(led(client, 700))
    const heard: string[] = []
    const unbind = lab.router.bindUdp(
      PORT,
      (packet, from) => {
        heard.push(from.name)
        lab.pool.free(packet)
      },
      (_packet, from) => from === lab.front,
    )
    expect(lab.lines(lab.front, ask(client, 701, gateway))).toEqual([])
    expect(heard).toEqual(['front'])
    expect(lab.trace(lab.front, ask(client, 702, gateway)).at(-1)).toMatch('UDP port 53')
    // A network that it does not serve, another's gateway, and the outside: what is published.
    expect(lab.line(lab.back, ask(server, 703, backGateway))).toMatch(`> ${end(server, 53)} udp`)
    expect(lab.line(lab.front, ask(client, 704, backGateway))).toBe(led(client, 704))
    expect(lab.line(lab.up, ask(outside, 705, uplink))).toBe(led(outside, 705))
    unbind()
    expect(lab.line(lab.front, ask(client, 706, gateway))).toBe(led(client, 706))
    expect(heard).toEqual(['front'])
    lab.end()
  })

  it('of TCP too, and refuses for itself', () => {
    const lab = new NatLab()
    lab.nat.publish(mappingOf(server, { port: PORT }))
    expect(lab.line(lab.front, syn(700))).toBe(`back ${end(client, 700)} > ${end(server, 80)} tcp`)
    const receive = () => expect.unreachable()
    const unbind = lab.router.bindTcp(PORT, { serves: () => true, accepts: () => false, receive })
    expect(lab.line(lab.front, syn(701))).toBe(
      `front ${end(gateway, 53)} > ${end(client, 701)} tcp`,
    )
    unbind()
    lab.end()
  })

  it('gives way to who publishes the port of that address by name', () => {
    const lab = new NatLab()
    const address = parseAddress(gateway)
    lab.nat.publish(mappingOf(sibling, { address, protocol: 17, port: PORT, targetPort: PORT }))
    const unbind = lab.router.bindUdp(PORT, () => expect.unreachable())
    expect(lab.line(lab.front, ask(client, 700, gateway))).toBe(
      `front ${end(client, 700)} > ${end(sibling, 53)} udp`,
    )
    unbind()
    lab.end()
  })
})
