/**
 * The DHCP client of a macvlan endpoint, in virtual time, against a server that the test plays:
 * what it says, when it says it again, and what becomes of the interface.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sendDatagram } from '../../../services/dhcp/send.ts'
import { formatAddress, formatPrefix, ipv4, parseAddress } from '../../../stack/address.ts'
import { parseMac } from '../../../stack/eth/mac.ts'
import { Pool } from '../../../stack/packet.ts'
import * as dhcp from '../../../stack/udp/dhcp.ts'
import * as value from '../../../stack/udp/dhcp_values.ts'
import { Rig } from '../rig.ts'

const { MessageType: Type, Option } = dhcp
const PARENT = 'lan@eth0'
const SERVER_MAC = '02:00:00:00:00:99'
const FRAME_UDP = 42
const FILE = `
name: lab
networks:
  lan: { driver: macvlan, driver_opts: { parent: eth0 }, ipam: { driver: dhcp } }
sandboxes:
  a: { networks: { lan: { mac_address: "02:00:00:00:00:0a" } } }
`
const word = (text: string): number => parseAddress(text).words[3]!

interface Said {
  readonly message: dhcp.DhcpMessage
  readonly to: string
}

class Outside {
  readonly rig = new Rig()

  async up(): Promise<this> {
    await this.rig.apply(FILE)
    return this
  }

  /** What the client said since the last call. */
  heard(): Said[] {
    return this.rig.received(PARENT).flatMap((digits) => {
      const frame = Uint8Array.from(Buffer.from(digits, 'hex'))
      const message = dhcp.parse(frame, FRAME_UDP, frame.length - FRAME_UDP)
      const to = formatAddress(ipv4(Buffer.from(frame).readInt32BE(30)))
      return message === undefined ? [] : [{ message, to }]
    })
  }

  say(
    type: number,
    to: dhcp.DhcpMessage,
    o: { address?: string; lease?: number; options?: (readonly [number, Uint8Array])[] } = {},
  ): void {
    const pool = new Pool({ smallCount: 4, largeCount: 1 })
    const { address = '192.0.2.77', lease = 600 } = o
    const options = o.options ?? [
      [Option.Mask, value.word(word('255.255.255.0'))],
      [Option.Router, value.word(word('192.0.2.1'))],
      [Option.LeaseTime, value.word(lease)],
    ]
    const from = { mac: parseMac(SERVER_MAC), address: word('192.0.2.1'), port: dhcp.SERVER_PORT }
    const fields = {
      request: false,
      xid: to.xid,
      broadcast: false,
      yiaddr: type === Type.Nak ? 0 : word(address),
      mac: to.mac,
      options: [
        [Option.Type, value.octet(type)] as const,
        [Option.Server, value.word(word('192.0.2.1'))] as const,
        ...options,
      ],
    }
    sendDatagram(
      pool,
      { from, to: { mac: undefined, address: -1, port: dhcp.CLIENT_PORT } },
      (mem, at) => dhcp.put(mem, at, fields, 1400),
      ({ head, len }) => this.rig.inject(PARENT, pool.mem.slice(head, head + len)),
    )
  }

  /** A whole conversation. */
  lease(seconds = 600): void {
    const [discover] = this.heard()
    this.say(Type.Offer, discover!.message)
    const [request] = this.heard()
    this.say(Type.Ack, request!.message, { lease: seconds })
  }

  get addresses(): string[] {
    return (this.rig.inside.get('a/eth0')?.addresses ?? []).map(formatPrefix)
  }
}

describe('the DHCP client', () => {
  it('asks, takes, and gives back', async () => {
    const outside = await new Outside().up()
    const { rig } = outside
    expect(rig.request('a/eth0')).toMatchObject({ addresses: [], routes: [] })
    const [discover] = outside.heard()
    expect(discover!.message).toMatchObject({ request: true, type: Type.Discover, yiaddr: 0 })
    expect(discover!.message.options.get(Option.HostName)).toEqual(value.text('a'))
    outside.say(Type.Offer, discover!.message)
    const [request] = outside.heard()
    expect(request!.message.type).toBe(Type.Request)
    expect(dhcp.addressOption(request!.message, Option.Requested)).toBe(word('192.0.2.77'))
    expect(dhcp.addressOption(request!.message, Option.Server)).toBe(word('192.0.2.1'))
    expect(outside.addresses).toEqual([])
    outside.say(Type.Ack, request!.message)
    expect(outside.addresses).toEqual(['192.0.2.77/24'])
    const [route] = rig.inside.get('a/eth0')!.routes
    expect(formatAddress(route!.via!)).toBe('192.0.2.1')
    expect(rig.controller.ls().sandboxes[0]!.endpoints[0]!.addresses).toEqual(['192.0.2.77/24'])
    outside.heard()
    await rig.apply(FILE.replace('a: {', '# a: {'))
    await rig.finish()
  })

  it('retries for ever, ever slower, and begins anew when nobody confirms', async () => {
    const outside = await new Outside().up()
    const [first] = outside.heard()
    const times: number[] = []
    for (let s = 1; s <= 300; s++) {
      outside.rig.pass(1000)
      times.push(...outside.heard().map(() => s))
    }
    const gaps = times.map((at, i) => at - (times[i - 1] ?? 0))
    const wanted = [4, 8, 16, 32, 64, 64, 64]
    for (const [i, gap] of gaps.entries()) expect(Math.abs(gap - wanted[i]!)).toBeLessThanOrEqual(2)
    outside.rig.pass(64_000)
    const again = outside.heard().at(-1)!.message
    expect(again.xid).toBe(first!.message.xid)
    outside.say(Type.Offer, again)
    outside.rig.pass(100_000)
    const types = outside.heard().map(({ message }) => message.type)
    expect(types.slice(0, 4)).toEqual(Array(4).fill(Type.Request))
    expect(types[4]).toBe(Type.Discover)
    await outside.rig.finish()
  })

  it('renews at the server, rebinds at all, and gives up when the time is over', async () => {
    const outside = await new Outside().up()
    outside.lease(800)
    outside.rig.pass(399_000)
    expect(outside.heard()).toEqual([])
    outside.rig.pass(2_000)
    const [renew] = outside.heard()
    expect(renew!.to).toBe('192.0.2.1')
    expect(formatAddress(ipv4(renew!.message.ciaddr))).toBe('192.0.2.77')
    outside.say(Type.Ack, renew!.message, { lease: 800 })
    expect(outside.rig.calls.filter((call) => call.startsWith('readdress'))).toHaveLength(1)
    outside.rig.pass(399_000)
    expect(outside.heard(), 'the time begins anew').toEqual([])
    outside.rig.pass(310_000)
    const tries = outside.heard()
    expect(tries.at(-1)!.to, 'whoever hears it').toBe('255.255.255.255')
    expect(tries.length).toBeLessThan(8)
    expect(outside.addresses).toEqual(['192.0.2.77/24'])
    outside.rig.pass(100_000)
    expect(outside.addresses).toEqual([])
    expect(outside.rig.logged).toContain('a has lost its lease')
    expect(outside.heard().at(-1)!.message.type).toBe(Type.Discover)
    await outside.rig.finish()
  })

  it('obeys NAK, and hears nobody who answers another', async () => {
    const outside = await new Outside().up()
    const [discover] = outside.heard()
    const other = { ...discover!.message, xid: discover!.message.xid + 1 }
    outside.say(Type.Offer, other)
    outside.say(Type.Offer, { ...discover!.message, mac: parseMac('02:00:00:00:00:0b') })
    expect(outside.heard()).toEqual([])
    outside.say(Type.Offer, discover!.message)
    const [request] = outside.heard()
    outside.say(Type.Nak, request!.message)
    expect(outside.heard().map(({ message }) => message.type)).toEqual([Type.Discover])
    await outside.rig.finish()
  })

  it('takes no lease that makes no sense, and never throws', async () => {
    const outside = await new Outside().up()
    const mask = (text: string): readonly [number, Uint8Array] => [
      Option.Mask,
      value.word(word(text)),
    ]
    const time = [Option.LeaseTime, value.word(600)] as const
    const [discover] = outside.heard()
    outside.say(Type.Offer, discover!.message)
    const { message } = outside.heard()[0]!
    outside.say(Type.Ack, message, { address: '127.0.0.1' })
    outside.say(Type.Ack, message, { address: '224.0.0.1' })
    outside.say(Type.Ack, message, { options: [mask('255.0.255.0'), time] })
    outside.say(Type.Ack, message, { options: [time] })
    outside.say(Type.Ack, message, { options: [mask('255.255.255.0')] })
    expect(outside.addresses).toEqual([])
    const option = fc.tuple(fc.integer({ min: 1, max: 254 }), fc.uint8Array({ maxLength: 20 }))
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 20 }),
        fc.array(option, { maxLength: 8 }),
        (type, list) => {
          outside.say(type, message, { options: list })
        },
      ),
      { numRuns: 300 },
    )
    outside.rig.pass(10_000)
    await outside.rig.finish()
  })
})
