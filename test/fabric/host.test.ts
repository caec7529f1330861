/** Two in-memory hosts on one cable, without a node between them. */
import { afterEach, describe, expect, it } from 'vitest'
import { sleep, VirtualDriver } from '../../services/fabric/driver.ts'
import { Host } from '../../services/fabric/host.ts'
import { PingError } from '../../services/fabric/ping.ts'
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import { DropReason } from '../../stack/drop.ts'
import type { CableFaults } from '../../stack/eth/lane.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { Cable } from '../../stack/eth/memory.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'

class Pair {
  readonly pool = new Pool({ smallCount: 1024, largeCount: 64, checked: true })
  readonly driver = new VirtualDriver()
  readonly cable: Cable
  readonly a: Host
  readonly b: Host

  constructor({ offload = false, faults = {} as CableFaults, mtuBytes = 1500 } = {}) {
    const { pool, driver } = this
    const random = new Random(7)
    this.cable = new Cable({
      name: 'c',
      pool,
      clock: driver.clock,
      random,
      mtuBytes,
      faults,
      offload: { csum: offload, tso: offload, uso: offload },
    })
    const host = (n: number) => {
      const name = `h${n}`
      const it = new Host({ name, pool, driver, random })
      const end = n === 1 ? this.cable.a : this.cable.b
      driver.add(end)
      it.attach(end, {
        sandbox: name,
        netns: name,
        interfaceName: 'eth0',
        deviceName: `${name}/eth0`,
        mac: parseMac(`02:00:00:00:00:0${n}`),
        mtuBytes,
        addresses: [parsePrefix(`10.0.0.${n}/24`), parsePrefix(`fd00::${n}/64`)],
        routes: [{ destination: parsePrefix('0.0.0.0/0'), via: parseAddress('10.0.0.9') }],
        offload,
      })
      return it
    }
    this.a = host(1)
    this.b = host(2)
  }

  close(): void {
    this.a.close()
    this.b.close()
    this.cable.close()
    this.driver.close()
    expect(this.pool.leaks()).toEqual([])
    expect(this.driver.pending).toBe(0)
  }
}

let pair: Pair | undefined
function open(options: ConstructorParameters<typeof Pair>[0] = {}): Pair {
  pair = new Pair(options)
  return pair
}
afterEach(() => {
  pair?.close()
  pair = undefined
})

describe('host', () => {
  it.each(['10.0.0.2', 'fd00::2'])('pings %s, in the time that the cable takes', async (to) => {
    const { a } = open({ faults: { delayMs: 10 } })
    // The first also waits for ARP or neighbor discovery.
    expect(await a.ping(to)).toEqual({ from: to, rttMs: 40, ttl: 64, bytes: 56 })
    expect(await a.ping(to, { bytes: 1000 })).toEqual({ from: to, rttMs: 20, ttl: 64, bytes: 1000 })
  })

  it.each(['10.0.0.2', 'fd00::2'])('fragments and reassembles a large ping to %s', async (to) => {
    const { a } = open()
    // More fragments than may wait for a neighbor, so it must be known before.
    await a.ping(to)
    expect(await a.ping(to, { bytes: 60_000 })).toMatchObject({ bytes: 60_000 })
    const refused = a.ping(to, { bytes: 1500, dontFragment: true })
    await expect(refused).rejects.toMatchObject({ kind: 'too-big', mtuBytes: 1500 })
  })

  it('says why there is no answer', async () => {
    const { a, b, cable } = open()
    await expect(a.ping('10.0.0.7')).rejects.toThrow('ping 10.0.0.7: host unreachable')
    await expect(a.ping('fd00:9::1')).rejects.toThrow('no route to fd00:9::1')
    await a.ping('10.0.0.2')
    cable.setFaults({ partitioned: true })
    const timedOut = a.ping('10.0.0.2', { timeoutMs: 300 })
    await expect(timedOut).rejects.toThrow('ping 10.0.0.2: no answer in 300 ms')
    await expect(timedOut).rejects.toBeInstanceOf(PingError)
    expect(b.addresses('eth0')).toEqual(['10.0.0.2/24', 'fd00::2/64', 'fe80::ff:fe00:2/64'])
  })

  for (const offload of [false, true]) {
    const how = offload ? 'with offloads' : 'without offloads'
    it.each(['10.0.0.2', 'fd00::2'])(`sends datagrams of every size to %s ${how}`, async (to) => {
      const { a, b } = open({ offload })
      const socket = b.udp(53)
      const client = a.udp()
      for (const bytes of [0, 1, 100, 1472, 1473, 9000, 65_507]) {
        const data = Uint8Array.from({ length: bytes }, (_, i) => (bytes + i) & 0xff)
        client.send(data, to, 53)
        const message = await socket.receive()
        expect(message.data).toEqual(data)
        message.reply(`got ${bytes}`)
        const answer = await client.receive()
        expect([answer.text, answer.address, answer.port]).toEqual([`got ${bytes}`, to, 53])
      }
    })

    it(`cuts one send into many datagrams ${how}`, async () => {
      const { a, b } = open({ offload })
      const sizes: number[] = []
      b.udp(5000).onMessage(({ data }) => sizes.push(data.length))
      a.udp().send(new Uint8Array(2500), '10.0.0.2', 5000, { segmentBytes: 1000 })
      const { driver } = pair!
      await sleep(driver, 1)
      expect(sizes).toEqual([1000, 1000, 500])
    })
  }

  it.each(['10.0.0.2', 'fd00::2'])('tells a sender that nobody listens at %s', async (to) => {
    const { a, driver } = open()
    const errors: unknown[] = []
    a.udp(4000)
      .onError((error) => errors.push(error))
      .send('hello', to, 9)
    await sleep(driver, 10)
    expect(errors).toEqual([
      {
        kind: 'unreachable',
        text: 'port unreachable',
        mtuBytes: 0,
        address: to,
        port: 9,
        from: to,
      },
    ])
  })

  it('keeps its sockets apart', () => {
    const { a } = open()
    const socket = a.udp(53)
    expect(() => a.udp(53)).toThrow('h1: UDP port 53 is bound already')
    expect(() => a.udp(70_000)).toThrow('70000 is not a UDP port')
    socket.close()
    socket.close()
    expect(a.udp(53).port).toBe(53)
    expect(a.udp().port).not.toBe(a.udp().port)
    expect(() => socket.send('x', '10.0.0.2', 1)).toThrow('closed')
    expect(() => a.udp().send(new Uint8Array(65_508), '10.0.0.2', 1)).toThrow('too many')
  })

  it('rejects what waits when its time is over or its end comes', async () => {
    const { a } = open()
    const socket = a.udp(53)
    await expect(socket.receive({ timeoutMs: 20 })).rejects.toThrow(
      'no datagram for port 53 in 20 ms',
    )
    const closed = expect(socket.receive()).rejects.toThrow('the socket was closed')
    socket.close()
    await closed
    const ping = expect(a.ping('10.0.0.2')).rejects.toThrow('the host was closed')
    a.close()
    await ping
  })

  it('notices every flipped bit that matters', async () => {
    const { a, b, driver, pool } = open({ faults: { corruptPct: 30 } })
    const good = 'x'.repeat(300)
    const texts: string[] = []
    b.udp(53).onMessage(({ text }) => texts.push(text))
    const client = a.udp()
    for (let n = 0; n < 300; n++) {
      client.send(good, n % 2 === 0 ? '10.0.0.2' : 'fd00::2', 53)
      await sleep(driver, 100)
    }
    expect(texts.length).toBeGreaterThan(150)
    expect(texts.length).toBeLessThan(280)
    expect(texts.every((text) => text === good)).toBe(true)
    const { dropTotal } = pool.counters
    expect(dropTotal.call(pool.counters, DropReason.TransportMalformed)).toBeGreaterThan(20)
  })
})
