import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { Trace } from '../../stack/trace.ts'
import {
  A,
  ALL_NODES,
  arpFrame,
  B,
  BROADCAST,
  dataFrame,
  GATEWAY,
  hex,
  ipPacket,
  type NdFields,
  NeighborLab,
  ndFrame,
  O,
  R,
  S,
} from './lab.ts'

const GATEWAY_LINK_LOCAL = 'fe80::ff:fe00:1'

/** Per family: a neighbor's address, how we ask for it, and how it answers. */
const FAMILIES = [
  {
    name: 'IPv4',
    family: 4,
    address: '10.1.0.11',
    ask: hex(arpFrame({ sha: GATEWAY, spa: '10.1.0.1', tpa: '10.1.0.11' })),
    probe: hex(arpFrame({ sha: GATEWAY, spa: '10.1.0.1', tpa: '10.1.0.11', dst: A })),
    answer: (mac: string): Uint8Array => {
      const to = { tha: GATEWAY, tpa: '10.1.0.1', dst: GATEWAY }
      return arpFrame({ oper: 2, sha: mac, spa: '10.1.0.11', ...to })
    },
    announcement: (mac: string): Uint8Array =>
      arpFrame({ sha: mac, spa: '10.1.0.11', tpa: '10.1.0.11' }),
  },
  {
    name: 'IPv6',
    family: 6,
    address: 'fd00:1::11',
    ask: hex(ndFrame(ask6('ff02::1:ff00:11', '33:33:ff:00:00:11'))),
    probe: hex(ndFrame(ask6('fd00:1::11', A))),
    answer: (mac: string): Uint8Array => ndFrame(answer6(mac, S | O)),
    announcement: (mac: string): Uint8Array =>
      ndFrame({ ...answer6(mac, O), dst: 'ff02::1', etherDst: ALL_NODES }),
  },
] as const

function ask6(dst: string, etherDst: string): NdFields {
  const target = 'fd00:1::11'
  return { type: 135, src: 'fd00:1::1', dst, target, mac: GATEWAY, etherDst, etherSrc: GATEWAY }
}

function answer6(mac: string, flags: number): NdFields {
  const [src, dst] = ['fd00:1::11', 'fd00:1::1']
  return { type: 136, src, dst, target: src, flags, mac, etherDst: GATEWAY, etherSrc: mac }
}

describe.each(FAMILIES)(
  'resolving $name',
  ({ family, address, ask, probe, answer, announcement }) => {
    it('asks once, keeps packets waiting, and sends them in order', () => {
      const lab = new NeighborLab()
      for (const mark of [1, 2, 3]) lab.send(address, mark)
      expect(lab.take()).toEqual([ask])
      expect(lab.state(address)).toBe('incomplete')
      lab.receive(answer(A))
      expect(lab.take()).toEqual([1, 2, 3].map((mark) => dataFrame(A, family, mark)))
      expect(lab.state(address)).toBe('reachable')
      lab.send(address, 4)
      expect(lab.take()).toEqual([dataFrame(A, family, 4)])
      lab.wait(1_000)
      expect(lab.clock.pending, 'no timer while nothing is awaited').toBe(0)
      lab.balance()
    })

    it('works when the answer comes before the question returns', () => {
      const lab = new NeighborLab()
      lab.onOutput = (frame) => {
        if (hex(frame) === ask) lab.receive(answer(A))
      }
      lab.send(address, 1)
      lab.send(address, 2)
      // The lab notes a frame after it has been answered.
      expect(lab.take()).toEqual([dataFrame(A, family, 1), ask, dataFrame(A, family, 2)])
      lab.balance()
    })

    it('asks three times a second apart, then gives every packet back', () => {
      const lab = new NeighborLab()
      lab.send(address, 1)
      lab.send(address, 2)
      lab.wait(999)
      expect(lab.take()).toEqual([ask])
      lab.wait(1)
      expect(lab.take()).toEqual([ask])
      lab.wait(1_000)
      expect(lab.take()).toEqual([ask])
      expect(lab.failed).toEqual([])
      lab.wait(1_000)
      expect(lab.take()).toEqual([])
      expect(lab.failed).toEqual([1, 2].map((mark) => hex(ipPacket(family, mark))))
      expect(lab.state(address)).toBe('failed')
      lab.balance()
    })

    it('refuses at once for a second after a failure, then asks again', () => {
      const lab = new NeighborLab()
      lab.send(address, 1)
      lab.wait(3_000)
      lab.take()
      lab.send(address, 2)
      expect(lab.take()).toEqual([])
      expect(lab.failed).toHaveLength(2)
      lab.wait(1_000)
      lab.send(address, 3)
      expect(lab.take()).toEqual([ask])
      lab.receive(answer(A))
      expect(lab.take()).toEqual([dataFrame(A, family, 3)])
      expect(lab.state(address)).toBe('reachable')
      lab.balance()
    })

    it('forgets a failure in the end, and then has no timer', () => {
      const lab = new NeighborLab()
      lab.send(address, 1)
      lab.wait(3_000 + 20_250)
      expect(lab.state(address)).toBeUndefined()
      expect(lab.clock.pending).toBe(0)
      lab.balance()
    })

    it('lets an announcement end a failure', () => {
      const lab = new NeighborLab()
      lab.send(address, 1)
      lab.wait(3_000)
      lab.take()
      lab.receive(announcement(A))
      lab.send(address, 2)
      expect(lab.take()).toEqual([dataFrame(A, family, 2)])
      lab.balance()
    })

    it('verifies a neighbor in use without losing or delaying a packet', () => {
      const lab = new NeighborLab()
      lab.onOutput = (frame) => {
        if (hex(frame) === probe || hex(frame) === ask) lab.receive(answer(A))
      }
      lab.send(address, 0)
      lab.take()
      const states = new Set<string>()
      let probes = 0
      for (let i = 0; i < 1200; i++) {
        lab.wait(100)
        lab.send(address, i & 0xff)
        const frames = lab.take()
        expect(frames.filter((frame) => frame === dataFrame(A, family, i & 0xff))).toHaveLength(1)
        probes += frames.filter((frame) => frame === probe).length
        expect(frames).not.toContain(ask)
        states.add(lab.state(address)!)
      }
      expect(states).toEqual(new Set(['reachable', 'delay']))
      // Two minutes, a probe every 20 to 50 s.
      expect(probes).toBeGreaterThanOrEqual(2)
      expect(probes).toBeLessThanOrEqual(6)
      expect(lab.failed).toEqual([])
      lab.balance()
    })

    it('goes stale with time alone, and costs nothing then', () => {
      const lab = new NeighborLab()
      lab.send(address, 1)
      lab.receive(answer(A))
      lab.take()
      lab.wait(14_999)
      expect(lab.state(address)).toBe('reachable')
      lab.wait(30_001)
      expect(lab.state(address)).toBe('stale')
      expect(lab.clock.pending).toBe(0)
      lab.wait(3_600_000)
      expect(lab.take()).toEqual([])
      expect(lab.macOf(address)).toBe(A)
      lab.balance()
    })

    it('probes three times, then forgets, and finds the neighbor where it is now', () => {
      const lab = new NeighborLab()
      lab.send(address, 1)
      lab.receive(answer(A))
      lab.wait(45_000)
      lab.take()
      lab.send(address, 2)
      expect(lab.state(address)).toBe('delay')
      lab.wait(5_000)
      expect(lab.state(address)).toBe('probe')
      lab.send(address, 3)
      lab.wait(2_000)
      const [two, three] = [2, 3].map((mark) => dataFrame(A, family, mark))
      expect(lab.take()).toEqual([two, probe, three, probe, probe])
      lab.wait(1_000)
      expect(lab.state(address)).toBeUndefined()
      lab.send(address, 4)
      expect(lab.take()).toEqual([ask])
      lab.receive(answer(B))
      expect(lab.take()).toEqual([dataFrame(B, family, 4)])
      lab.balance()
    })

    it('follows an announced move, and never meets a stranger by it', () => {
      const lab = new NeighborLab()
      lab.receive(announcement(A))
      expect(lab.neighbors.list()).toEqual([])
      lab.send(address, 1)
      lab.receive(answer(A))
      lab.changed.length = 0
      lab.receive(announcement(A))
      expect(lab.state(address), 'nothing new').toBe('reachable')
      expect(lab.changed).toEqual([])
      lab.receive(announcement(B))
      expect(lab.state(address)).toBe('stale')
      expect(lab.changed).toHaveLength(1)
      lab.take()
      lab.send(address, 2)
      expect(lab.take()).toEqual([dataFrame(B, family, 2)])
      lab.balance()
    })

    it('is answered by an announcement too, and verifies it then', () => {
      const lab = new NeighborLab()
      lab.send(address, 1)
      lab.take()
      lab.receive(announcement(A))
      expect(lab.take()).toEqual([dataFrame(A, family, 1)])
      expect(lab.state(address)).toBe('delay')
      lab.wait(5_000)
      expect(lab.take()).toEqual([probe])
      lab.balance()
    })

    it('keeps what is permanent, against answers and flushes', () => {
      const lab = new NeighborLab()
      lab.send(address, 1)
      lab.take()
      lab.neighbors.setPermanent(lab.link, parseAddress(address), parseMac(B))
      expect(lab.take()).toEqual([dataFrame(B, family, 1)])
      lab.receive(announcement(A))
      lab.receive(answer(A))
      lab.neighbors.flush()
      lab.wait(100_000)
      expect(lab.state(address)).toBe('permanent')
      expect(lab.macOf(address)).toBe(B)
      lab.neighbors.forget(lab.link, parseAddress(address))
      lab.neighbors.forget(lab.link, parseAddress(address))
      expect(lab.neighbors.list()).toEqual([])
      lab.balance()
    })

    it('drops what waits when the neighbor is forgotten or the link goes', () => {
      const lab = new NeighborLab()
      lab.send(address, 1)
      lab.neighbors.forget(lab.link, parseAddress(address))
      expect(lab.drops('neighbor-failed')).toBe(1)
      lab.send(address, 2)
      lab.neighbors.removeLink(lab.link)
      lab.neighbors.removeLink(lab.link)
      expect(lab.drops('device-down')).toBe(1)
      lab.send(address, 3)
      expect(lab.drops('device-down')).toBe(2)
      lab.wait(10_000)
      expect(lab.failed).toEqual([])
      lab.balance()
    })

    it('explains a traced packet and changes nothing', () => {
      const lab = new NeighborLab()
      const trace = new Trace()
      lab.pool.trace = trace
      lab.send(address, 1, { traced: true })
      expect(lab.take()).toEqual([])
      expect(lab.neighbors.list()).toEqual([])
      lab.send(address, 2)
      lab.send(address, 3, { traced: true })
      lab.receive(answer(A), { traced: true })
      expect(lab.state(address)).toBe('incomplete')
      lab.receive(answer(A))
      lab.wait(50_000)
      lab.take()
      lab.send(address, 4, { traced: true })
      expect(lab.take()).toEqual([dataFrame(A, family, 4)])
      expect(lab.state(address)).toBe('stale')
      expect(trace.ends.map(({ verdict }) => verdict)).toEqual(['queued', 'queued', 'consumed'])
      expect(trace.steps).toEqual([
        { element: 'neighbors front', text: `${address} is at ${A} (stale)` },
      ])
      lab.neighbors.flush()
      lab.send(address, 5)
      lab.wait(3_000)
      lab.send(address, 6, { traced: true })
      expect(trace.steps.at(-1)!.text).toBe(`${address} did not answer`)
      lab.balance()
    })
  },
)

describe('answering', () => {
  const ask4 = { sha: A, spa: '10.1.0.11', tpa: '10.1.0.1' }
  const ask6to: NdFields = {
    type: 135,
    src: 'fd00:1::11',
    dst: 'ff02::1:ff00:1',
    target: 'fd00:1::1',
    mac: A,
    etherDst: '33:33:ff:00:00:01',
    etherSrc: A,
  }
  const answer6to: NdFields = {
    type: 136,
    src: 'fd00:1::1',
    dst: 'fd00:1::11',
    target: 'fd00:1::1',
    flags: R | S | O,
    mac: GATEWAY,
    etherDst: A,
    etherSrc: GATEWAY,
  }

  it('ARP for own addresses, and remembers who asked (RFC 826)', () => {
    const lab = new NeighborLab()
    lab.receive(arpFrame(ask4))
    const reply = { oper: 2, sha: GATEWAY, spa: '10.1.0.1', tha: A, tpa: '10.1.0.11', dst: A }
    expect(lab.take()).toEqual([hex(arpFrame(reply))])
    expect(lab.state('10.1.0.11')).toBe('stale')
    lab.send('10.1.0.11', 1)
    expect(lab.take()).toEqual([dataFrame(A, 4, 1)])
    lab.balance()
  })

  it('solicitations for own addresses, the link-local one too (RFC 4861 §7.2.3)', () => {
    const lab = new NeighborLab()
    lab.receive(ndFrame(ask6to))
    expect(lab.take()).toEqual([hex(ndFrame(answer6to))])
    expect(lab.state('fd00:1::11')).toBe('stale')
    const own = { target: GATEWAY_LINK_LOCAL }
    lab.receive(ndFrame({ ...ask6to, ...own, src: 'fe80::ff:fe00:a' }))
    const answer = { ...answer6to, ...own, src: GATEWAY_LINK_LOCAL, dst: 'fe80::ff:fe00:a' }
    expect(lab.take()).toEqual([hex(ndFrame(answer))])
    expect(lab.state('fe80::ff:fe00:a')).toBe('stale')
    lab.balance()
  })

  it('as a host: without the R flag', () => {
    const lab = new NeighborLab({ router: false })
    lab.receive(ndFrame(ask6to))
    expect(lab.take()).toEqual([hex(ndFrame({ ...answer6to, flags: S | O }))])
    lab.balance()
  })

  it('a solicitation without a link-layer address to its Ethernet source', () => {
    const lab = new NeighborLab()
    const { mac: _, ...bare } = ask6to
    lab.receive(ndFrame({ ...bare, dst: 'fd00:1::1', etherDst: GATEWAY }))
    expect(lab.take()).toEqual([hex(ndFrame(answer6to))])
    expect(lab.neighbors.list()).toEqual([])
    lab.balance()
  })

  it('probes for own addresses, without remembering anybody', () => {
    const lab = new NeighborLab()
    lab.receive(arpFrame({ ...ask4, spa: '0.0.0.0' }))
    const reply = { oper: 2, sha: GATEWAY, spa: '10.1.0.1', tha: A, tpa: '0.0.0.0', dst: A }
    const { mac: _, ...bare } = ask6to
    lab.receive(ndFrame({ ...bare, src: '::' }))
    const toAll = { dst: 'ff02::1', flags: R | O, etherDst: ALL_NODES }
    const frames = [hex(arpFrame(reply)), hex(ndFrame({ ...answer6to, ...toAll }))]
    expect(lab.take()).toEqual(frames)
    expect(lab.neighbors.list()).toEqual([])
    lab.balance()
  })

  it('nothing for the addresses of others, and remembers nobody by it', () => {
    const lab = new NeighborLab()
    lab.receive(arpFrame({ ...ask4, tpa: '10.1.0.12' }))
    lab.receive(ndFrame({ ...ask6to, target: 'fd00:1::12' }))
    lab.receive(arpFrame({ ...ask4, oper: 2, tha: GATEWAY, dst: GATEWAY }))
    expect(lab.take()).toEqual([])
    expect(lab.neighbors.list()).toEqual([])
    expect(lab.drops('delivered')).toBe(3)
    lab.balance()
  })

  it('a stranger to the subnet, whom it does not remember', () => {
    const lab = new NeighborLab()
    lab.receive(arpFrame({ ...ask4, spa: '192.0.2.7' }))
    lab.receive(ndFrame({ ...ask6to, src: '2001:db8::7' }))
    lab.receive(arpFrame({ ...ask4, spa: '10.1.0.255' }))
    expect(lab.take()).toHaveLength(3)
    expect(lab.neighbors.list()).toEqual([])
    lab.balance()
  })

  it('nothing to what is malformed', () => {
    const lab = new NeighborLab()
    const arp = arpFrame(ask4)
    const nd = ndFrame(ask6to)
    for (let bytes = 14; bytes < arp.length; bytes++) lab.receive(arp.slice(0, bytes))
    expect(lab.drops('arp-malformed')).toBe(28)
    for (let bytes = 14; bytes < nd.length; bytes++) lab.receive(nd.slice(0, bytes))
    expect(lab.drops('nd-malformed')).toBe(72)
    lab.receive(arpFrame({ ...ask4, spa: '224.0.0.1' }))
    expect(lab.drops('arp-malformed')).toBe(29)
    expect(lab.take()).toEqual([])
    lab.balance()
  })

  it('explains a traced question and answers nobody', () => {
    const lab = new NeighborLab()
    const trace = new Trace()
    lab.pool.trace = trace
    lab.receive(arpFrame(ask4), { traced: true })
    lab.receive(ndFrame(ask6to), { traced: true })
    lab.receive(arpFrame({ ...ask4, spa: '10.1.0.1' }), { traced: true })
    expect(lab.take()).toEqual([])
    expect(lab.neighbors.list()).toEqual([])
    const consumed = { verdict: 'consumed', detail: `front: would answer with ${GATEWAY}` }
    expect(trace.ends).toEqual([consumed, consumed, { verdict: 'dropped', detail: 'arp-spoofed' }])
    lab.balance()
  })
})

describe('a claim to an own address', () => {
  const announce4 = hex(arpFrame({ sha: GATEWAY, spa: '10.1.0.1', tpa: '10.1.0.1' }))
  const announce6 = hex(
    ndFrame({
      type: 136,
      src: 'fd00:1::1',
      dst: 'ff02::1',
      target: 'fd00:1::1',
      flags: R | O,
      mac: GATEWAY,
      etherDst: ALL_NODES,
      etherSrc: GATEWAY,
    }),
  )
  const claim4 = arpFrame({ sha: A, spa: '10.1.0.1', tpa: '10.1.0.1' })
  const claim6 = ndFrame({
    type: 136,
    src: 'fd00:1::1',
    dst: 'ff02::1',
    target: 'fd00:1::1',
    flags: O,
    mac: A,
    etherDst: ALL_NODES,
    etherSrc: A,
  })

  it('is dropped and answered, once in ten seconds an address (RFC 5227 §2.4 c)', () => {
    const lab = new NeighborLab()
    for (let i = 0; i < 5; i++) lab.receive(claim4)
    for (let i = 0; i < 5; i++) lab.receive(claim6)
    expect(lab.take()).toEqual([announce4, announce6])
    expect(lab.drops('arp-spoofed')).toBe(10)
    lab.wait(9_999)
    lab.receive(claim4)
    expect(lab.take()).toEqual([])
    lab.wait(1)
    lab.receive(claim4)
    expect(lab.take()).toEqual([announce4])
    expect(lab.neighbors.list()).toEqual([])
    lab.balance()
  })

  it('by a solicitation or a bare advertisement is one too', () => {
    const lab = new NeighborLab()
    const ask = { type: 135, src: 'fd00:1::1', dst: 'ff02::1:ff00:11', target: 'fd00:1::11' }
    lab.receive(ndFrame({ ...ask, mac: A, etherDst: '33:33:ff:00:00:11', etherSrc: A }))
    expect(lab.take()).toEqual([announce6])
    const bare = { type: 136, src: 'fd00:1::1', dst: 'ff02::1', target: 'fd00:1::1', flags: O }
    lab.receive(ndFrame({ ...bare, etherDst: ALL_NODES, etherSrc: A }))
    expect(lab.drops('arp-spoofed')).toBe(2)
    lab.balance()
  })

  it('is none when it is our own message, come back', () => {
    const lab = new NeighborLab()
    for (const frame of [announce4, announce6]) lab.receive(Buffer.from(frame, 'hex'))
    expect(lab.drops('delivered')).toBe(2)
    expect(lab.take()).toEqual([])
    lab.balance()
  })
})

describe('groups', () => {
  it.each([
    ['224.0.0.251', '01:00:5e:00:00:fb'],
    ['239.255.255.250', '01:00:5e:7f:ff:fa'],
    ['255.255.255.255', BROADCAST],
    ['10.1.0.255', BROADCAST],
    ['ff02::1:ff00:11', '33:33:ff:00:00:11'],
    ['ff02::fb', '33:33:00:00:00:fb'],
  ])('%s is at %s, and nobody is asked (RFC 1112 §6.4, RFC 2464 §7)', (address, mac) => {
    const lab = new NeighborLab()
    lab.send(address, 9)
    expect(lab.take()).toEqual([dataFrame(mac, address.includes(':') ? 6 : 4, 9)])
    expect(lab.neighbors.list()).toEqual([])
    lab.balance()
  })
})
