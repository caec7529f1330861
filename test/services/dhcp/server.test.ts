/**
 * The DHCP server of a network on cables: frames in, frames out, in virtual time. Every answer is
 * read by the parser, and looked at as a client would.
 */
import { describe, expect, it } from 'vitest'
import { parseConfig } from '../../../services/config/parse.ts'
import { sendDatagram } from '../../../services/dhcp/send.ts'
import { formatAddress, ipv4, parseAddress } from '../../../stack/address.ts'
import { type Mac, parseMac } from '../../../stack/eth/mac.ts'
import { Pool } from '../../../stack/packet.ts'
import * as dhcp from '../../../stack/udp/dhcp.ts'
import * as value from '../../../stack/udp/dhcp_values.ts'
import { Rig } from '../rig.ts'

const { MessageType: Type, Option } = dhcp
const FRAME_UDP = 42

const FILE = `
name: lab
networks:
  lan:
    driver_opts:
      tapline.dhcp: "true"
      tapline.mac_guard: "false"
      tapline.dhcp_range: 10.1.0.200-10.1.0.202
      tapline.dhcp_lease: 10m
      tapline.dhcp_hosts: "02:00:00:00:00:99=10.1.0.30"
      tapline.dhcp_routes: "10.9.0.0/16 via 10.1.0.5"
      tapline.dns: "10.1.0.53, 192.0.2.53"
      tapline.dns_search: "shop.example, example"
      com.docker.network.driver.mtu: "1400"
    ipam: { config: [ { subnet: 10.1.0.0/24 } ] }
sandboxes:
  vm: { networks: { lan: { ipv4_address: 10.1.0.11, driver_opts: { tapline.dhcp: "true" } } } }
`
const OWN = '02:42:0a:01:00:0b'
const word = (text: string): number => parseAddress(text).words[3]!
const text = (address: number): string => formatAddress(ipv4(address))

interface Ask {
  readonly mac?: string
  readonly xid?: number
  readonly ciaddr?: string
  readonly broadcast?: boolean
  readonly options?: readonly (readonly [number, Uint8Array])[]
  readonly source?: string
}

/** A request as a frame, made in a pool of its own. */
function frame(type: number, { mac = '02:00:00:00:00:01', ...ask }: Ask): Buffer {
  const pool = new Pool({ smallCount: 4, largeCount: 1 })
  const station: Mac = parseMac(mac)
  let made = Buffer.alloc(0)
  const { ciaddr = '0.0.0.0', xid = 7, broadcast = false, options = [] } = ask
  sendDatagram(
    pool,
    {
      from: {
        mac: ask.source === undefined ? station : parseMac(ask.source),
        address: word(ciaddr),
        port: dhcp.CLIENT_PORT,
      },
      to: { mac: undefined, address: -1, port: dhcp.SERVER_PORT },
    },
    (mem, at) =>
      dhcp.put(
        mem,
        at,
        {
          request: true,
          xid,
          broadcast,
          ciaddr: word(ciaddr),
          mac: station,
          options: [[Option.Type, value.octet(type)], ...options],
        },
        1472,
      ),
    (packet) => {
      made = Buffer.from(pool.mem.slice(packet.head, packet.head + packet.len))
    },
  )
  return made
}

async function lab(file = FILE): Promise<{
  rig: Rig
  ask: (type: number, ask: Ask) => { to: string; message: dhcp.DhcpMessage } | undefined
}> {
  const rig = new Rig()
  await rig.apply(file)
  rig.quiet()
  return {
    rig,
    ask: (type, ask) => {
      rig.quiet()
      rig.inject('vm/eth0', frame(type, ask))
      const answers = rig.received('vm/eth0').map((digits) => Buffer.from(digits, 'hex'))
      const told = answers.filter((answer) => answer.readUInt16BE(36) === dhcp.CLIENT_PORT)
      expect(told.length).toBeLessThanOrEqual(1)
      const [answer] = told
      if (answer === undefined) return undefined
      const bytes = Uint8Array.from(answer)
      const message = dhcp.parse(bytes, FRAME_UDP, bytes.length - FRAME_UDP)!
      return { to: `${answer.toString('hex', 0, 6)} ${text(answer.readInt32BE(30))}`, message }
    },
  }
}

const requested = (address: string): readonly [number, Uint8Array] => [
  Option.Requested,
  value.word(word(address)),
]
const server = (address = '10.1.0.1'): readonly [number, Uint8Array] => [
  Option.Server,
  value.word(word(address)),
]

/** Both steps of a client without an address. */
function lease(ask: Awaited<ReturnType<typeof lab>>['ask'], mac: string): string | undefined {
  const offer = ask(Type.Discover, { mac })
  if (offer === undefined) return undefined
  const address = text(offer.message.yiaddr)
  const options = [requested(address), server()]
  expect(ask(Type.Request, { mac, options })!.message.type).toBe(Type.Ack)
  return address
}

describe('the DHCP server', () => {
  it('gives an endpoint its own address, with all that the network has', async () => {
    const { rig, ask } = await lab()
    expect(rig.request('vm/eth0')).toMatchObject({ addresses: [], routes: [] })
    const offer = ask(Type.Discover, { mac: OWN, options: [requested('10.1.0.201')] })!
    expect(offer.to).toBe('02420a01000b 10.1.0.11')
    expect(offer.message).toMatchObject({ type: Type.Offer, xid: 7, request: false })
    expect(text(offer.message.yiaddr)).toBe('10.1.0.11')
    const options = [requested('10.1.0.11'), server()]
    const ack = ask(Type.Request, { mac: OWN, options })!.message
    const told = Object.fromEntries(
      [...ack.options].map(([code, bytes]) => [code, Buffer.from(bytes).toString('hex')]),
    )
    expect(told).toEqual({
      53: '05',
      54: '0a010001',
      51: '00000258',
      58: '0000012c',
      59: '0000020d',
      1: 'ffffff00',
      3: '0a010001',
      6: '0a010035c0000235',
      26: '0578',
      15: Buffer.from('shop.example').toString('hex'),
      121: '100a090a010005' + '000a010001',
      119: '0473686f70076578616d706c6500' + '076578616d706c6500',
    })
    expect(rig.controller.leases()).toMatchObject([
      { network: 'lan', address: '10.1.0.11', mac: OWN, kind: 'static', expiresInMs: 600_000 },
    ])
    const other = ask(Type.Request, { mac: OWN, options: [requested('10.1.0.12'), server()] })!
    expect(other.message.type).toBe(Type.Nak)
    await rig.finish()
  })

  it('leases the pool, keeps to it, and says when nothing is left', async () => {
    const { rig, ask } = await lab()
    const given = [1, 2, 3].map((i) => lease(ask, `02:00:00:00:00:0${i}`))
    expect(given).toEqual(['10.1.0.200', '10.1.0.201', '10.1.0.202'])
    expect(lease(ask, '02:00:00:00:00:99'), 'of the file').toBe('10.1.0.30')
    expect(ask(Type.Discover, { mac: '02:00:00:00:00:04' })).toBeUndefined()
    expect(ask(Type.Discover, { mac: '02:00:00:00:00:05' })).toBeUndefined()
    const empty = rig.logged.filter((line) => line.includes('no address left'))
    expect(empty).toEqual([
      'no address left to lease on network lan (10.1.0.200 to 10.1.0.202): ' +
        '02:00:00:00:00:04 gets none',
    ])
    expect(rig.controller.inspect('lan').networks[0]!.dhcp).toEqual({
      pool: '10.1.0.200 to 10.1.0.202',
      size: 3,
      used: 3,
      refused: 2,
      error: 'no address left: all 3 of 10.1.0.200 to 10.1.0.202 are in use',
    })
    expect(lease(ask, '02:00:00:00:00:01'), 'it has one already').toBe('10.1.0.200')
    ask(Type.Release, { mac: '02:00:00:00:00:02', ciaddr: '10.1.0.201' })
    expect(lease(ask, '02:00:00:00:00:04')).toBe('10.1.0.201')
    rig.pass(11 * 60_000)
    expect(rig.controller.inspect('lan').networks[0]!.dhcp).toMatchObject({ used: 0, error: null })
    expect(lease(ask, '02:00:00:00:00:04'), 'remembered').toBe('10.1.0.201')
    await rig.finish()
  })

  it('answers for what it leased, and no longer for what it took back', async () => {
    const { rig, ask } = await lab()
    const mac = '02:00:00:00:00:01'
    lease(ask, mac)
    const spoof = rig.controller.node.networks()[0]!
    expect(spoof.dhcp!.held().map(formatAddress)).toEqual(['10.1.0.200'])
    expect(rig.controller.node.state.leased.get('lan')).toHaveLength(1)
    ask(Type.Release, { mac, ciaddr: '10.1.0.200' })
    expect(spoof.dhcp!.held()).toEqual([])
    await rig.finish()
  })

  it('renews and rebinds, and refuses what is not the client’s', async () => {
    const { rig, ask } = await lab()
    const mac = '02:00:00:00:00:01'
    lease(ask, mac)
    rig.pass(300_000)
    const renewed = ask(Type.Request, { mac, ciaddr: '10.1.0.200' })!
    expect(renewed.message.type).toBe(Type.Ack)
    expect(renewed.to, 'to its address').toBe('020000000001 10.1.0.200')
    expect(rig.controller.leases()[0]!.expiresInMs).toBe(600_000)
    const stolen = ask(Type.Request, { mac: '02:00:00:00:00:02', ciaddr: '10.1.0.200' })!
    expect(stolen.message.type).toBe(Type.Nak)
    expect(stolen.to, 'to everybody').toBe('ffffffffffff 255.255.255.255')
    for (const bad of ['10.1.0.11', '10.1.0.1', '10.1.0.30', '10.1.0.100', '192.0.2.1']) {
      const answer = ask(Type.Request, { mac: '02:00:00:00:00:02', options: [requested(bad)] })
      expect(answer!.message.type, bad).toBe(Type.Nak)
    }
    await rig.finish()
  })

  it('grants what a client remembers and nobody has, as after a restart', async () => {
    const { rig, ask } = await lab()
    const mac = '02:00:00:00:00:01'
    const rebooted = ask(Type.Request, { mac, options: [requested('10.1.0.202')] })!
    expect(rebooted.message.type).toBe(Type.Ack)
    expect(text(rebooted.message.yiaddr)).toBe('10.1.0.202')
    const late = ask(Type.Request, {
      mac: '02:00:00:00:00:02',
      options: [requested('10.1.0.201'), server()],
    })!
    expect(late.message.type, 'never offered').toBe(Type.Nak)
    await rig.finish()
  })

  it('leaves to another server who chose it', async () => {
    const { rig, ask } = await lab()
    const mac = '02:00:00:00:00:01'
    expect(ask(Type.Discover, { mac })!.message.type).toBe(Type.Offer)
    const options = [requested('10.1.0.200'), server('10.1.0.2')]
    expect(ask(Type.Request, { mac, options })).toBeUndefined()
    expect(rig.controller.leases()).toEqual([])
    await rig.finish()
  })

  it('does not give a declined address for a while', async () => {
    const { rig, ask } = await lab()
    const mac = '02:00:00:00:00:01'
    expect(lease(ask, mac)).toBe('10.1.0.200')
    expect(ask(Type.Decline, { mac, options: [requested('10.1.0.200'), server()] })).toBeUndefined()
    expect(rig.logged.at(-1)).toBe('02:00:00:00:00:01 says that another machine has 10.1.0.200')
    expect(lease(ask, mac)).toBe('10.1.0.201')
    rig.pass(660_000)
    expect(rig.controller.leases().map(({ kind }) => kind)).toEqual(['free'])
    await rig.finish()
  })

  it('tells INFORM the options without a lease', async () => {
    const { rig, ask } = await lab()
    const ack = ask(Type.Inform, { ciaddr: '10.1.0.77' })!
    expect(ack.message.type).toBe(Type.Ack)
    expect(ack.message.yiaddr).toBe(0)
    expect(ack.to).toBe('020000000001 10.1.0.77')
    expect(ack.message.options.has(Option.LeaseTime)).toBe(false)
    expect(ack.message.options.has(Option.Dns)).toBe(true)
    expect(rig.controller.leases()).toEqual([])
    await rig.finish()
  })

  it('broadcasts where a client asks for it, and tells clients by their identifier', async () => {
    const { rig, ask } = await lab()
    const id = (last: number): readonly [number, Uint8Array] => [
      Option.ClientId,
      Uint8Array.of(0, 1, last),
    ]
    const mac = '02:00:00:00:00:01'
    const one = ask(Type.Discover, { mac, broadcast: true, options: [id(1)] })!
    expect(one.to).toBe('ffffffffffff 255.255.255.255')
    expect(one.message.options.get(Option.ClientId)).toEqual(Uint8Array.of(0, 1, 1))
    const two = ask(Type.Discover, { mac, options: [id(2)] })!
    expect([one, two].map(({ message }) => text(message.yiaddr))).toEqual([
      '10.1.0.200',
      '10.1.0.201',
    ])
    await rig.finish()
  })

  it('does not answer relays, liars, floods and what is malformed', async () => {
    const { rig, ask } = await lab()
    expect(ask(Type.Discover, { source: '02:00:00:00:00:77' }), 'not its own MAC').toBeUndefined()
    const relayed = frame(Type.Discover, {})
    // giaddr; its own UDP checksum is then wrong, so it goes without.
    relayed.writeUInt32BE(0x0a01_0009, FRAME_UDP + 24)
    relayed.writeUInt16BE(0, 40)
    rig.quiet()
    rig.inject('vm/eth0', relayed)
    expect(rig.received('vm/eth0')).toEqual([])
    const drops = (): Record<string, number> =>
      Object.fromEntries(rig.controller.drops().map(({ reason, count }) => [reason, count]))
    expect(drops()['dhcp-malformed']).toBe(2)
    let answered = 0
    for (let i = 0; i < 400; i++) if (ask(Type.Discover, { mac: OWN }) !== undefined) answered++
    expect(answered).toBe(200)
    expect(drops()['dhcp-limited']).toBe(200)
    rig.pass(1000)
    expect(ask(Type.Discover, { mac: OWN })).toBeDefined()
    await rig.finish()
  })

  it('leaves what clients hold to them when the file is applied again', async () => {
    const file = FILE.replace(/ {6}tapline.dhcp_range: .*\n/, '').replace(
      'subnet: 10.1.0.0/24',
      'subnet: 10.1.0.0/24, ip_range: 10.1.0.32/30, gateway: 10.1.0.1',
    )
    const { rig, ask } = await lab(file)
    expect(lease(ask, '02:00:00:00:00:01')).toBe('10.1.0.32')
    await rig.apply(`${file}  more: { networks: [ lan ] }\n`)
    expect(rig.request('more/eth0').addresses.map(({ address }) => formatAddress(address))).toEqual(
      ['10.1.0.33'],
    )
    // The file has the last word.
    await rig.apply(`${file}  more: { networks: { lan: { ipv4_address: 10.1.0.32 } } }\n`)
    const renew = ask(Type.Request, { mac: '02:00:00:00:00:01', ciaddr: '10.1.0.32' })!
    expect(renew.message.type).toBe(Type.Nak)
    await rig.finish()
  })

  it('is quiet on networks without one', async () => {
    const { rig, ask } = await lab(
      FILE.replace(/ {6}tapline.dhcp.*\n/g, '').replace(/, driver_opts: .*"true" \}/, ''),
    )
    expect(ask(Type.Discover, {})).toBeUndefined()
    expect(rig.controller.inspect('lan').networks[0]!.dhcp).toBeNull()
    const none = 'no network with a DHCP server "lan"; there are none'
    expect(() => rig.controller.leases('lan')).toThrow(none)
    await rig.finish()
  })
})

describe('DHCP in a file', () => {
  const faults = (options: string): string[] => {
    const ipam = 'ipam: { config: [ { subnet: 10.1.0.0/24 } ] }'
    const head = 'name: lab\nnetworks:\n  lan:\n    '
    const source = `${head}${ipam}\n    driver_opts: { ${options} }\n`
    return parseConfig(source, 'f.yaml').faults.map(({ message }) => message)
  }

  it.each([
    ['tapline.dhcp: maybe', 'expected "true" or "false"'],
    ['tapline.dhcp_lease: 1h', '"tapline.dhcp_lease" has no effect without "tapline.dhcp: true"'],
    ['tapline.dhcp: true, tapline.dhcp_lease: 5s', '"5s" is not between one minute and 30 days'],
    ['tapline.dhcp: true, tapline.dhcp_range: 10.1.0.9', '"10.1.0.9" is not a range'],
    [
      'tapline.dhcp: true, tapline.dhcp_range: 10.1.0.9-10.1.0.8',
      '"10.1.0.9-10.1.0.8" ends before it begins',
    ],
    [
      'tapline.dhcp: true, tapline.dhcp_range: 10.2.0.1-10.2.0.8',
      '10.2.0.1 to 10.2.0.8 is not inside 10.1.0.0/24',
    ],
    [
      'tapline.dhcp: true, tapline.dhcp_range: 10.1.0.1-10.1.0.8',
      '10.1.0.1 to 10.1.0.8 has the gateway in it',
    ],
    [
      'tapline.dhcp: true, tapline.dhcp_hosts: "02:00:00:00:00:01=10.1.0.1"',
      '10.1.0.1 is taken by the gateway',
    ],
    ['tapline.dhcp: true, tapline.dhcp_routes: 10.9.0.0/16', '"10.9.0.0/16" is not a route'],
    ['tapline.dns: nowhere', '"nowhere" is not an IPv4 or IPv6 address'],
    ['tapline.dns_search: "a..b"', '"a..b" is not a domain name'],
  ])('%s', (options, message) => {
    expect(faults(options)).toEqual([expect.stringContaining(message)])
  })
})
