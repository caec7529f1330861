import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { Bindings } from '../../stack/arp/bindings.ts'
import { type ArpProxyOptions, arpProxy } from '../../stack/arp/proxy.ts'
import type { DropName } from '../../stack/drop.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import type { Output, Packet } from '../../stack/packet.ts'
import { Trace } from '../../stack/trace.ts'
import {
  A,
  ALL_NODES,
  arpFrame,
  B,
  C,
  GATEWAY,
  hex,
  Lab,
  type NdFields,
  NO_MAC,
  ndFrame,
  O,
  R,
  S,
  tagged,
} from './lab.ts'

const WEB1 = 1
const WEB2 = 2
const IP_A = '10.1.0.11'
const IP_B = '10.1.0.12'
const IP_GATEWAY = '10.1.0.1'

/** Endpoint web1 (MAC A) on port 1 behind a proxy; web2 (MAC B) on port 2; the gateway. */
class ProxyLab extends Lab {
  readonly bindings: Bindings = new Bindings({ seed: 3 })
  readonly input: Output
  readonly #replied: string[] = []
  readonly #passed: string[] = []

  constructor(options: Partial<ArpProxyOptions> = {}) {
    super()
    const bind = (ip: string, mac: string, port: number): void => {
      this.bindings.set(parseAddress(ip), parseMac(mac), port)
    }
    bind(IP_A, A, WEB1)
    bind('fd00:1::11', A, WEB1)
    bind('fe80::ff:fe00:a', A, WEB1)
    bind(IP_B, B, WEB2)
    bind('fd00:1::12', B, WEB2)
    bind('fe80::ff:fe00:b', B, WEB2)
    bind(IP_GATEWAY, GATEWAY, 0)
    bind('fd00:1::1', GATEWAY, 0)
    this.input = arpProxy({
      pool: this.pool,
      bindings: this.bindings,
      name: 'web1/eth0',
      port: WEB1,
      suppress: true,
      reply: this.sink(this.#replied),
      next: this.sink(this.#passed),
      ...options,
    })
  }

  /** What becomes of a frame from web1: an answer in hex, `passed`, or a drop reason. */
  give(frame: Uint8Array, facts: Partial<Packet> = {}): string {
    const before = this.allDrops()
    this.input(this.packet(frame, { ingress: WEB1, ...facts }))
    expect(this.pool.leaks()).toEqual([])
    const answer = this.#replied.pop()
    const passed = this.#passed.pop()
    if (answer !== undefined) return answer
    if (passed !== undefined) return passed === hex(frame) ? 'passed' : `changed to ${passed}`
    expect(this.allDrops()).toBe(before + 1)
    const reasons: DropName[] = ['arp-malformed', 'arp-spoofed', 'nd-malformed', 'router-spoofed']
    return reasons.filter((reason) => this.drops(reason, WEB1) > 0).join()
  }
}

/** The fate of one frame in a fresh lab. */
function fate(frame: Uint8Array, options: Partial<ArpProxyOptions> = {}): string {
  return new ProxyLab(options).give(frame)
}

function request(tpa: string, fields: Partial<Parameters<typeof arpFrame>[0]> = {}): Uint8Array {
  return arpFrame({ sha: A, spa: IP_A, tpa, ...fields })
}

describe('ARP', () => {
  it('answers for an endpoint and for the gateway, to the asker alone', () => {
    const reply = { oper: 2, tha: A, tpa: IP_A, dst: A }
    expect(fate(request(IP_B))).toBe(hex(arpFrame({ ...reply, sha: B, spa: IP_B })))
    const gateway = hex(arpFrame({ ...reply, sha: GATEWAY, spa: IP_GATEWAY }))
    expect(fate(request(IP_GATEWAY))).toBe(gateway)
  })

  it('answers a padded request with a frame of its own length', () => {
    const padded = Uint8Array.from([...request(IP_B), ...Array<number>(18).fill(0)])
    expect(fate(padded)).toHaveLength(2 * 42)
  })

  it('passes on what it does not know, or what is not a question', () => {
    expect(fate(request('10.1.0.99'))).toBe('passed')
    expect(fate(request(IP_A))).toBe('passed')
    expect(fate(arpFrame({ oper: 2, sha: A, spa: IP_A, tha: B, tpa: IP_B, dst: B }))).toBe('passed')
    expect(fate(request(IP_B), { suppress: false })).toBe('passed')
  })

  it('leaves questions to one station to that station: only it knows whether it is there', () => {
    expect(fate(request(IP_B, { dst: B }))).toBe('passed')
  })

  it('forgets with the bindings, and follows a move', () => {
    const lab = new ProxyLab()
    lab.bindings.set(parseAddress(IP_B), parseMac(C), 3)
    expect(lab.give(request(IP_B)).slice(12, 24)).toBe(C.replaceAll(':', ''))
    lab.bindings.delete(parseAddress(IP_B))
    expect(lab.give(request(IP_B))).toBe('passed')
    lab.bindings.set(parseAddress(IP_B), parseMac(A), WEB1)
    expect(lab.give(request(IP_B))).toBe('passed')
  })

  it('does not break conflict detection (RFC 5227 §2.1.1)', () => {
    const probe = { sha: A, spa: '0.0.0.0' }
    const answer = { oper: 2, sha: B, spa: IP_B, tha: A, tpa: '0.0.0.0', dst: A }
    expect(fate(arpFrame({ ...probe, tpa: IP_B }))).toBe(hex(arpFrame(answer)))
    expect(fate(arpFrame({ ...probe, tpa: IP_A }))).toBe('passed')
    expect(fate(arpFrame({ ...probe, tpa: '10.1.0.99' }))).toBe('passed')
  })

  it.each([true, false])('drops claims to what is not its own (suppress: %s)', (suppress) => {
    const spoofs = [
      request(IP_GATEWAY, { spa: IP_B }),
      request(IP_B, { spa: IP_B }),
      arpFrame({ oper: 2, sha: A, spa: IP_GATEWAY, tha: B, tpa: IP_B, dst: B }),
      request(IP_B, { sha: B, src: A }),
      request(IP_B, { src: B }),
      arpFrame({ sha: B, spa: '0.0.0.0', tpa: '10.1.0.99', src: A }),
    ]
    for (const frame of spoofs) expect(fate(frame, { suppress })).toBe('arp-spoofed')
  })

  it('takes claims of stations that share a device from the MAC that has the address', () => {
    const shared = { shared: true }
    const gratuitous = (mac: string): Uint8Array =>
      arpFrame({ sha: mac, src: mac, spa: IP_A, tpa: IP_A })
    expect(fate(gratuitous(A), shared)).toBe('passed')
    expect(fate(gratuitous(C))).toBe('passed')
    expect(fate(gratuitous(C), shared)).toBe('arp-spoofed')
    const other = arpFrame({ sha: C, src: C, spa: '10.1.0.99', tpa: '10.1.0.99' })
    expect(fate(other, shared)).toBe('passed')
    expect(fate(other, { ...shared, strict: true })).toBe('arp-spoofed')
  })

  it('lets an endpoint claim what nobody has, unless strict', () => {
    const claim = arpFrame({ sha: A, spa: '10.1.0.99', tpa: '10.1.0.99' })
    expect(fate(claim)).toBe('passed')
    expect(fate(claim, { strict: true })).toBe('arp-spoofed')
    expect(fate(request('10.1.0.99'), { strict: true })).toBe('passed')
  })

  it('drops what is no ARP message', () => {
    const whole = request(IP_B)
    for (let bytes = 14; bytes < whole.length; bytes++) {
      expect(fate(whole.slice(0, bytes))).toBe('arp-malformed')
    }
    for (const at of [14, 15, 16, 17, 18, 19]) {
      const frame = whole.slice()
      frame[at]! ^= 4
      expect(fate(frame)).toBe('arp-malformed')
    }
    const senders = ['224.0.0.5', '255.255.255.255', '240.0.0.1', '127.0.0.1']
    for (const spa of senders) expect(fate(request(IP_B, { spa }))).toBe('arp-malformed')
    for (const sha of [NO_MAC, '03:00:00:00:00:0a']) {
      expect(fate(request(IP_B, { sha }))).toBe('arp-malformed')
    }
  })
})

describe('neighbor discovery', () => {
  const ASK: NdFields = {
    type: 135,
    src: 'fd00:1::11',
    dst: 'ff02::1:ff00:12',
    target: 'fd00:1::12',
    mac: A,
    etherDst: '33:33:ff:00:00:12',
    etherSrc: A,
  }
  const ANSWER: NdFields = {
    type: 136,
    src: 'fd00:1::12',
    dst: 'fd00:1::11',
    target: 'fd00:1::12',
    flags: S | O,
    mac: B,
    etherDst: A,
    etherSrc: B,
  }
  const { mac: _, ...BARE } = ASK
  const PROBE = { ...BARE, src: '::' }

  it('answers for an endpoint, and for the gateway as a router', () => {
    expect(fate(ndFrame(ASK))).toBe(hex(ndFrame(ANSWER)))
    const ask = { ...ASK, dst: 'ff02::1:ff00:1', target: 'fd00:1::1' }
    const answer = { ...ANSWER, src: 'fd00:1::1', target: 'fd00:1::1', flags: R | S | O }
    const expected = hex(ndFrame({ ...answer, mac: GATEWAY, etherSrc: GATEWAY }))
    expect(fate(ndFrame({ ...ask, etherDst: '33:33:ff:00:00:01' }))).toBe(expected)
  })

  it('answers with a whole checksum what came with a partial one', () => {
    const frame = ndFrame(ASK)
    frame[14 + 42]! ^= 0x55
    expect(fate(frame)).toBe('nd-malformed')
    const lab = new ProxyLab()
    const packet = lab.packet(frame)
    lab.pool.free(packet)
    expect(lab.give(frame, { csumStart: packet.head + 54, csumOffset: 2 })).toBe(
      hex(ndFrame(ANSWER)),
    )
  })

  it('does not break duplicate address detection (RFC 4862 §5.4.3)', () => {
    const answer = { ...ANSWER, dst: 'ff02::1', flags: O, etherDst: ALL_NODES }
    expect(fate(ndFrame(PROBE))).toBe(hex(ndFrame(answer)))
    expect(fate(ndFrame({ ...PROBE, target: 'fd00:1::11' }))).toBe('passed')
    expect(fate(ndFrame({ ...PROBE, target: 'fd00:1::99' }))).toBe('passed')
    expect(fate(ndFrame(PROBE), { suppress: false })).toBe('passed')
    expect(fate(ndFrame({ ...PROBE, target: 'fe80::99' }), { strict: true })).toBe('passed')
  })

  it('passes on what is asked of one station, what it does not know, and true answers', () => {
    expect(fate(ndFrame({ ...ASK, dst: 'fd00:1::12', etherDst: B }))).toBe('passed')
    expect(fate(ndFrame({ ...ASK, target: 'fd00:1::99' }))).toBe('passed')
    const own = { src: 'fd00:1::11', target: 'fd00:1::11', mac: A, etherSrc: A }
    expect(fate(ndFrame({ ...ANSWER, ...own, dst: 'fd00:1::12', etherDst: B }))).toBe('passed')
    const toAll = { dst: 'ff02::1', flags: O, etherDst: ALL_NODES }
    expect(fate(ndFrame({ ...ANSWER, ...own, ...toAll }))).toBe('passed')
  })

  it.each([true, false])('drops claims to what is not its own (suppress: %s)', (suppress) => {
    const own = { src: 'fd00:1::11', target: 'fd00:1::11', mac: A, etherSrc: A, dst: 'fd00:1::12' }
    const spoofs: NdFields[] = [
      { ...ASK, src: 'fd00:1::12' },
      { ...BARE, src: 'fd00:1::1' },
      { ...ASK, mac: B },
      { ...ANSWER, etherSrc: A, mac: A },
      { ...ANSWER, ...own, target: 'fd00:1::1' },
      { ...ANSWER, ...own, src: 'fe80::ff:fe00:b' },
      { ...ANSWER, ...own, mac: C },
      { ...ANSWER, ...own, target: 'fd00:1::1', dst: 'ff02::1', flags: O },
    ]
    for (const fields of spoofs) expect(fate(ndFrame(fields), { suppress })).toBe('arp-spoofed')
  })

  it('takes claims of stations that share a device from the MAC that has the address', () => {
    const own = { src: 'fd00:1::11', target: 'fd00:1::11', dst: 'ff02::1', flags: O }
    const advertise = (mac: string): Uint8Array =>
      ndFrame({ ...ANSWER, ...own, mac, etherSrc: mac })
    expect(fate(advertise(A), { shared: true })).toBe('passed')
    expect(fate(advertise(C))).toBe('passed')
    expect(fate(advertise(C), { shared: true })).toBe('arp-spoofed')
    const ask = { ...ASK, src: 'fd00:1::11', target: 'fd00:1::99', mac: C, etherSrc: C }
    expect(fate(ndFrame(ask), { shared: true })).toBe('arp-spoofed')
  })

  it('lets an endpoint claim what nobody has, unless strict; link-local always', () => {
    const claim = (src: string): Uint8Array => ndFrame({ ...ASK, src })
    const other = { target: 'fd00:1::99' }
    expect(fate(ndFrame({ ...ASK, ...other, src: 'fd00:1::77' }))).toBe('passed')
    expect(fate(claim('fd00:1::77'), { strict: true })).toBe('arp-spoofed')
    expect(fate(ndFrame({ ...ASK, ...other, src: 'fe80::77' }), { strict: true })).toBe('passed')
    expect(fate(claim('fe80::ff:fe00:b'), { strict: true })).toBe('arp-spoofed')
  })

  it('drops what fails RFC 4861 §7.1, at every truncation', () => {
    const whole = ndFrame(ASK)
    for (let bytes = 55; bytes < whole.length; bytes++) {
      expect(fate(whole.slice(0, bytes))).toBe('nd-malformed')
    }
    expect(fate(ndFrame({ ...ASK, hopLimit: 64 }))).toBe('nd-malformed')
  })

  it('drops discovery that hides behind extension headers (RFC 6980, RFC 7113)', () => {
    const options = [58, 0, 1, 4, 0, 0, 0, 0]
    const claim = { ...ANSWER, etherSrc: A, mac: A }
    const hidden = (next: number, bytes: number[]): Uint8Array =>
      ndFrame({ ...claim, extension: { next, bytes } })
    expect(fate(hidden(60, options))).toBe('nd-malformed')
    expect(fate(hidden(0, [60, ...options.slice(1), ...options]))).toBe('nd-malformed')
    expect(fate(hidden(44, [58, 0, 0, 1, 0, 0, 0, 7]))).toBe('nd-malformed')
    const mld = ndFrame({ ...claim, type: 143, extension: { next: 0, bytes: options } })
    expect(fate(mld)).toBe('passed')
  })

  it('drops router advertisements and redirects but from routers', () => {
    for (const type of [134, 137]) {
      const frame = ndFrame({ ...ASK, type, src: 'fe80::ff:fe00:a', dst: 'ff02::1' })
      expect(fate(frame)).toBe('router-spoofed')
      expect(fate(frame, { router: true })).toBe('passed')
    }
    expect(fate(ndFrame({ ...ASK, type: 133 }))).toBe('passed')
    expect(fate(ndFrame({ ...ASK, type: 128 }))).toBe('passed')
  })
})

describe('tags', () => {
  const PRIORITY = [0x81, 0x00, 0xe0, 0x00]
  const SERVICE = [0x88, 0xa8, 0x00, 0x00]
  const VLAN_5 = [0x81, 0x00, 0x00, 0x05]
  const spoof = request(IP_GATEWAY, { spa: IP_B })

  it('leaves VLANs alone', () => {
    expect(fate(tagged(spoof, VLAN_5))).toBe('passed')
    expect(fate(tagged(spoof, PRIORITY, VLAN_5))).toBe('passed')
  })

  it('looks behind priority tags, as hosts do', () => {
    expect(fate(tagged(spoof, PRIORITY))).toBe('arp-spoofed')
    expect(fate(tagged(spoof, SERVICE, PRIORITY))).toBe('arp-spoofed')
    const answer = arpFrame({ oper: 2, sha: B, spa: IP_B, tha: A, tpa: IP_A, dst: A })
    expect(fate(tagged(request(IP_B), PRIORITY))).toBe(hex(answer))
    const whole = tagged(request(IP_B), PRIORITY, PRIORITY)
    for (let bytes = 0; bytes < whole.length; bytes++) {
      const result = fate(whole.slice(0, bytes))
      expect(result).toBe(bytes < 22 ? 'passed' : 'arp-malformed')
    }
  })
})

describe('everything else', () => {
  it('passes untouched, runts too', () => {
    const data = (type: number, payload: number[]): Uint8Array =>
      Uint8Array.from([...request(IP_B).slice(0, 12), type >> 8, type & 0xff, ...payload])
    for (const type of [0x0800, 0x86dd, 0x88cc, 0x0026]) {
      expect(fate(data(type, [0x45, 0, 0, 20, ...Array<number>(60).fill(17)]))).toBe('passed')
    }
    // Behind a runt, its slot still holds an earlier frame: that must not be read as its own.
    const lab = new ProxyLab()
    for (let bytes = 0; bytes < 14; bytes++) {
      const packet = lab.packet(spoofed())
      packet.len = bytes
      lab.input(packet)
    }
    expect(lab.allDrops()).toBe(0)
    expect(lab.pool.leaks()).toEqual([])
  })

  it('explains a traced packet and changes nothing', () => {
    const lab = new ProxyLab()
    const trace = new Trace()
    lab.pool.trace = trace
    const traced = (frame: Uint8Array): void => lab.input(lab.packet(frame, { traced: true }))
    traced(request(IP_B))
    traced(request(IP_GATEWAY, { spa: IP_B }))
    expect(trace.ends).toEqual([
      { verdict: 'consumed', detail: `would answer with ${B}` },
      { verdict: 'dropped', detail: 'arp-spoofed' },
    ])
    expect(trace.steps.map(({ element }) => element)).toEqual(Array(2).fill('arp proxy web1/eth0'))
    expect(lab.allDrops()).toBe(0)
    expect(lab.pool.leaks()).toEqual([])
  })

  it('never throws, never leaks, and never lets a claim through, whatever the octets', () => {
    const seeds = [
      request(IP_B),
      spoofed(),
      tagged(spoofed(), [0x81, 0, 0, 0]),
      ndFrame({
        type: 136,
        src: 'fd00:1::12',
        dst: 'ff02::1',
        target: 'fd00:1::12',
        mac: A,
        flags: O,
        etherDst: ALL_NODES,
        etherSrc: A,
      }),
    ]
    const lab = new ProxyLab()
    const mutation = fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 5 })
    fc.assert(
      fc.property(fc.constantFrom(...seeds), mutation, fc.nat(90), (seed, changes, bytes) => {
        const frame = seed.slice()
        for (const [at, value] of changes) if (at < frame.length) frame[at] = value
        const cut = frame.slice(0, bytes)
        if (lab.give(cut) !== 'passed') return
        const text = hex(cut)
        const arp = text.slice(24, 28) === '0806'
        expect(arp && text.slice(56, 64) === '0a01000c', 'an ARP claim').toBe(false)
        const nd = text.slice(24, 28) === '86dd' && text.slice(40, 42) === '3a'
        const claim = text.slice(108, 112) === '8800' && text.slice(124, 156) === text.slice(44, 76)
        expect(nd && claim, 'an advertised claim').toBe(false)
      }),
      { numRuns: 3000 },
    )
  })
})

function spoofed(): Uint8Array {
  return request(IP_GATEWAY, { spa: IP_B })
}

describe('Bindings', () => {
  it('lists what is bound, and says when it is full', () => {
    const bindings = new Bindings({ entriesMax: 2, seed: 1 })
    bindings.set(parseAddress('10.1.0.1'), parseMac('fe:ff:ff:ff:ff:ff'), 0)
    bindings.set(parseAddress('fd00::1'), parseMac(A), 7)
    bindings.set(parseAddress('fd00::1'), parseMac(B), 8)
    expect(bindings.list()).toEqual([
      { address: '10.1.0.1', mac: 'fe:ff:ff:ff:ff:ff', port: 0 },
      { address: 'fd00::1', mac: B, port: 8 },
    ])
    expect(() => bindings.set(parseAddress('10.1.0.2'), parseMac(C), 1)).toThrow('more than 2')
    bindings.delete(parseAddress('10.1.0.1'))
    bindings.delete(parseAddress('10.1.0.1'))
    bindings.set(parseAddress('10.1.0.2'), parseMac(C), 1)
    expect(bindings.list().map(({ address }) => address)).toEqual(['10.1.0.2', 'fd00::1'])
  })
})
