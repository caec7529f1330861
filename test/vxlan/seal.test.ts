/** Encrypted tunnels: what is on the wire, and what is refused. Two nodes over cables in memory. */
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { type Key, parseKeys } from '../../services/overlay/keyring.ts'
import { NodeSealKeys } from '../../services/overlay/seal_keys.ts'
import { parseAddress } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { DROP_NAMES, type DropName } from '../../stack/drop.ts'
import { GsoType, type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { MemoryNet } from '../../stack/udp/memory_net.ts'
import type { MemoryUnderlay } from '../../stack/udp/memory_underlay.ts'
import { ReplayWindow, WINDOW } from '../../stack/vxlan/replay.ts'
import { SEAL_BYTES } from '../../stack/vxlan/seal.ts'
import { SealedUnderlay } from '../../stack/vxlan/sealed_underlay.ts'
import type { Tunnel } from '../../stack/vxlan/tunnel.ts'
import { Vtep } from '../../stack/vxlan/vtep.ts'
import { join } from '../ip/group_lab.ts'
import { frame, HOST_MAC, pattern, pseudo, tcp } from '../ip/lab.ts'

const SECRET = 4097
const OPEN = 4098
const FIRST = Buffer.alloc(32, 1).toString('base64')
const SECOND = Buffer.alloc(32, 2).toString('base64')
const THIRD = Buffer.alloc(32, 3).toString('base64')
const BODY = Uint8Array.from({ length: 200 }, (_, i) => i)
const FRAME = Uint8Array.from([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x12, 0x34, ...BODY])

interface Node {
  readonly pool: Pool
  readonly under: MemoryUnderlay
  readonly sealed: SealedUnderlay
  readonly keys: NodeSealKeys
  readonly vtep: Vtep
  readonly tunnels: ReadonlyMap<number, Tunnel>
  /** Frames that came out of tunnels, in hex. */
  readonly got: string[]
}

class World {
  readonly clock: VirtualClock = new VirtualClock()
  readonly net: MemoryNet = new MemoryNet({ clock: this.clock, random: new Random(5) })
  readonly nodes: Node[] = []
  /** Datagrams as they arrive at the second node: [payload, segment]. */
  readonly wire: Uint8Array[] = []
  /** What arrives is noted, and nothing more. */
  holds = false
  wallMs = 1_800_000_000_000

  constructor(keys: readonly string[] = [FIRST], joins = false) {
    for (const i of [1, 2]) this.nodes.push(this.open(i, parseKeys(keys.join('\n')), joins))
  }

  open(i: number, keys: readonly Key[], joins = false, epochDatagrams?: number): Node {
    const pool = new Pool({ smallCount: 256, largeCount: 8, checked: true })
    const under = this.net.open({ pool, address: vtepOf(i), udpPort: 4789, joins })
    const own = new NodeSealKeys(vtepOf(i), { keys, wallMs: () => this.wallMs++ })
    const limit = epochDatagrams === undefined ? {} : { epochDatagrams }
    const sealed = new SealedUnderlay({ pool, clock: this.clock, under, keys: own, ...limit })
    const vtep = new Vtep({ pool, underlay: sealed })
    const got: string[] = []
    const tunnels = new Map<number, Tunnel>()
    for (const vni of [SECRET, OPEN]) {
      const tunnel = vtep.open({ name: `n${vni}`, clock: this.clock, seed: i, vni })
      tunnel.output = (packet) => {
        got.push(octets(pool, packet))
        pool.free(packet)
      }
      tunnel.addMember(vtepOf(3 - i))
      tunnels.set(vni, tunnel)
    }
    sealed.encrypt(SECRET)
    const { onDatagram } = under
    under.onDatagram = (packet, peer, segmentBytes, tos) => {
      if (i === 2) this.wire.push(pool.mem.slice(packet.head, packet.head + packet.len))
      if (i === 2 && this.holds) return pool.free(packet)
      onDatagram(packet, peer, segmentBytes, tos)
    }
    return { pool, under, sealed, keys: own, vtep, tunnels, got }
  }

  /** From the first node to the second, or the other way. */
  send(vni: number, bytes: Uint8Array = FRAME, from = 0, facts: Partial<Packet> = {}): void {
    const { pool, tunnels } = this.nodes[from]!
    const packet = pool.alloc(bytes.length)!
    pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    Object.assign(packet, facts)
    if (facts.csumStart !== undefined) packet.csumStart += packet.head
    tunnels.get(vni)!.transmit(packet)
    this.wait(1)
  }

  /** A datagram as if it came from the first node. */
  inject(bytes: Uint8Array, peer = 0, segmentBytes = bytes.length): void {
    const { pool, under } = this.nodes[1]!
    const packet = pool.alloc(bytes.length)!
    pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    packet.ingress = under.port
    under.onDatagram(packet, peer, segmentBytes, 0)
  }

  wait(ms: number): void {
    const untilMs = this.clock.nowMs + ms
    do for (const { under } of this.nodes) under.poll(64)
    while (this.clock.step(untilMs))
    this.clock.jump(untilMs)
  }

  drops(reason: DropName): number {
    const { pool } = this.nodes[1]!
    return pool.counters.dropTotal(DROP_NAMES.indexOf(reason))
  }

  get got(): string[] {
    return this.nodes[1]!.got
  }

  /** The sender starts again, as after a crash. */
  restart(): void {
    this.close(this.nodes[0]!)
    this.nodes[0] = this.open(1, parseKeys(FIRST))
  }

  close({ vtep, under, pool }: Node): void {
    vtep.close()
    under.close()
    expect(pool.leaks()).toEqual([])
  }
}

function octets(pool: Pool, { head, len }: Packet): string {
  return Buffer.from(pool.mem.slice(head, head + len)).toString('hex')
}

function vtepOf(node: number): ReturnType<typeof parseAddress> {
  return parseAddress(`10.200.0.${node}`)
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
let world: World
afterEach(() => {
  for (const node of world.nodes) world.close(node)
})

describe('on the wire', () => {
  it('is what the page says, and what another implementation opens', () => {
    world = new World()
    world.send(SECRET)
    expect(world.got).toEqual([hex(FRAME)])
    const [datagram] = world.wire
    const bytes = Buffer.from(datagram!)
    expect(bytes.length).toBe(8 + FRAME.length + SEAL_BYTES)
    expect(bytes.subarray(4, 8).toString('hex')).toBe('00100100')
    expect([bytes[0], bytes.readBigUInt64BE(16)]).toEqual([0x40, 0n])
    const info = Buffer.concat([
      Buffer.from('tapline overlay seal 1'),
      Buffer.from([10, 200, 0, 1]),
    ])
    const secret = Buffer.from(FIRST, 'base64')
    const derived = Buffer.from(hkdfSync('sha256', secret, bytes.subarray(8, 16), info, 44))
    const open = createDecipheriv('aes-256-gcm', derived.subarray(0, 32), derived.subarray(32))
    open.setAAD(bytes.subarray(0, 24)).setAuthTag(bytes.subarray(-16))
    const plain = Buffer.concat([open.update(bytes.subarray(24, -16)), open.final()])
    expect(hex(plain)).toBe(hex(FRAME))
    expect(bytes.includes(Buffer.from(BODY.subarray(0, 16)))).toBe(false)
  })

  it("uses the cipher of NIST's test case 16", () => {
    world = new World()
    const unhex = (text: string): Buffer => Buffer.from(text, 'hex')
    const key = unhex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308')
    const cipher = createCipheriv('aes-256-gcm', key, unhex('cafebabefacedbaddecaf888'))
    cipher.setAAD(unhex('feedfacedeadbeeffeedfacedeadbeefabaddad2'))
    const plain =
      'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72' +
      '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39'
    const sealed = Buffer.concat([cipher.update(unhex(plain)), cipher.final()])
    expect(sealed.toString('hex')).toBe(
      '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa' +
        '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662',
    )
    expect(cipher.getAuthTag().toString('hex')).toBe('76fc6ece0f4e1768cddf8853bb2d551b')
  })

  it('no number is used twice, in whatever direction, and over starts', () => {
    world = new World()
    const seen = new Set<string>()
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 10; i++) world.send(SECRET)
      world.restart()
    }
    for (const datagram of world.wire) seen.add(hex(datagram.subarray(0, 24)))
    expect(seen.size).toBe(30)
    expect(world.got.length).toBe(30)
  })

  it('a super-frame is cut and sealed, and comes out joined', () => {
    world = new World([FIRST], true)
    const header = { from: '10.1.0.11', to: '10.1.0.12' }
    const whole = frame(HOST_MAC, tcp(header, { to: 80, flags: 0x10 }, pattern(5000)))
    // As a TAP hands it over: the transport checksum is the pseudo-header's sum.
    const sum = pseudo({ ...header, protocol: 6 }, whole.length - 34)
    whole.set([sum >>> 8, sum & 0xff], 50)
    const facts = { gsoType: GsoType.TcpV4, gsoSize: 1300, csumStart: 34, csumOffset: 16 }
    world.send(SECRET, whole, 0, facts)
    expect(world.wire.length).toBe(1)
    expect(world.wire[0]!.length).toBe(4 * (1300 + 54 + 8 + SEAL_BYTES) - (4 * 1300 - 5000))
    const data = world.got.map((text) => text.slice(2 * 54)).join('')
    expect(data).toBe(hex(pattern(5000)))
    // Joined to one super-frame again.
    expect(world.got.length).toBe(1)
  })

  it('networks beside it stay plain, also joined with it', () => {
    world = new World([FIRST], true)
    world.send(OPEN)
    expect(world.got).toEqual([hex(FRAME)])
    expect(Buffer.from(world.wire[0]!).includes(Buffer.from(BODY))).toBe(true)
    const sealedFrame = FRAME.subarray(0, FRAME.length - SEAL_BYTES)
    world.send(SECRET, sealedFrame)
    const [plain, sealed] = world.wire
    // The same size, so that the kernel may join them.
    expect(sealed!.length).toBe(plain!.length)
    world.got.length = 0
    world.send(SECRET, sealedFrame)
    const fresh = world.wire[2]!
    world.inject(Uint8Array.from([...plain!, ...sealed!, ...fresh]), 0, plain!.length)
    expect(world.got).toEqual([hex(sealedFrame), hex(FRAME)])
    expect(world.drops('seal-replayed')).toBe(2)
  })
})

describe('refused', () => {
  it('every octet that is changed', () => {
    world = new World()
    world.send(SECRET)
    world.holds = true
    world.send(SECRET)
    world.holds = false
    const good = world.wire[1]
    world.got.length = 0
    for (let at = 0; at < good!.length; at++) {
      const bad = Uint8Array.from(good!)
      bad[at]! ^= 1 << (at & 7)
      world.inject(bad)
      world.clock.jump(world.clock.nowMs + 100)
    }
    expect(world.got).toEqual([])
    expect(world.drops('seal-forged')).toBeGreaterThan(good!.length - 24)
    world.inject(good!)
    expect(world.got).toEqual([hex(FRAME)])
  })

  it('every length that is cut', () => {
    world = new World()
    world.send(SECRET)
    const [good] = world.wire
    world.got.length = 0
    for (let bytes = 0; bytes < good!.length; bytes++) world.inject(good!.subarray(0, bytes))
    expect(world.got).toEqual([])
    expect(world.drops('seal-malformed')).toBe(39)
  })

  it('what was seen, also after its sender started again', () => {
    world = new World()
    for (let i = 0; i < 3; i++) world.send(SECRET)
    const recorded = [...world.wire]
    for (const datagram of recorded) world.inject(datagram)
    expect(world.got.length).toBe(3)
    world.restart()
    world.send(SECRET)
    expect(world.got.length).toBe(4)
    for (let i = 0; i < 6; i++) {
      world.restart()
      world.send(SECRET)
    }
    // By now the first epoch is forgotten, and older than what is known.
    for (const datagram of recorded) world.inject(datagram)
    expect(world.got.length).toBe(10)
    expect(world.drops('seal-replayed')).toBe(6)
  })

  it('the clear, where it is to be encrypted; and the other way round', () => {
    world = new World()
    world.nodes[0]!.sealed.decrypt(SECRET)
    world.send(SECRET)
    expect([world.got.length, world.drops('seal-plain')]).toEqual([0, 1])
    const [plain] = world.wire
    world.inject(Uint8Array.from([...plain!, ...plain!]), 0, plain!.length)
    expect(world.drops('seal-plain')).toBe(3)
    world.nodes[0]!.sealed.encrypt(OPEN)
    world.send(OPEN)
    expect([world.got.length, world.drops('seal-unexpected')]).toEqual([0, 1])
  })

  it('another key, another node, and a stranger', () => {
    world = new World()
    world.send(SECRET)
    const [good] = world.wire
    world.got.length = 0
    world.nodes[0]!.keys.keys = parseKeys(SECOND)
    world.nodes[0]!.sealed.rekey()
    world.send(SECRET)
    expect(world.drops('seal-unknown-key')).toBe(1)
    world.inject(good!, -1)
    expect(world.drops('vxlan-unknown-vtep')).toBe(1)
    // As if another node had sent it: its address is in the key.
    const other = world.nodes[1]!.sealed.addPeer({ address: vtepOf(9), udpPort: 4789 })
    world.inject(good!, other)
    expect(world.drops('seal-forged')).toBe(1)
    expect(world.got).toEqual([])
    world.nodes[1]!.sealed.removePeer(other)
  })

  it('a flood of new senders costs a bounded number of keys', () => {
    world = new World()
    world.send(SECRET)
    const forged = Uint8Array.from(world.wire[0]!)
    for (let i = 0; i < 1000; i++) {
      forged.set([0xff, i >>> 8, i], 8)
      world.inject(forged)
    }
    expect(world.drops('seal-forged')).toBeLessThanOrEqual(16)
    expect(world.drops('seal-unknown-key')).toBeGreaterThan(900)
    // The one that is known goes on.
    world.got.length = 0
    world.send(SECRET)
    expect(world.got.length).toBe(1)
  })
})

describe('keys', () => {
  it('are exchanged without loss, whatever the wire loses', () => {
    world = new World([FIRST])
    const faults = { lossPct: 20, duplicatePct: 10, delayMs: 2, jitterMs: 4 }
    world.net.setFaults(faults)
    let sent = 0
    const both = (run: (node: Node) => void): void => {
      for (const node of world.nodes) {
        run(node)
        for (let i = 0; i < 40; i++, sent++) world.send(SECRET, FRAME, i & 1)
      }
    }
    const take = (keys: readonly string[]) => (node: Node) => {
      const before = node.keys.keys
      node.keys.keys = parseKeys(keys.join('\n'))
      if (before[0]!.id !== node.keys.keys[0]!.id) node.sealed.rekey()
      for (const { id } of before) {
        if (!node.keys.keys.some((key) => key.id === id)) node.sealed.forgetKey(id)
      }
    }
    both(take([FIRST, SECOND]))
    both(take([SECOND, FIRST]))
    world.wait(100)
    both(take([SECOND]))
    both(take([SECOND, THIRD]))
    both(take([THIRD, SECOND]))
    world.wait(100)
    for (const name of ['seal-forged', 'seal-unknown-key', 'seal-plain'] as const) {
      expect(world.drops(name), name).toBe(0)
    }
    const arrived = world.nodes.reduce((sum, { got }) => sum + got.length, 0)
    expect(arrived).toBeGreaterThan(sent * 0.7)
    expect(arrived).toBeLessThanOrEqual(sent)
    expect(world.drops('seal-replayed')).toBeGreaterThan(5)
    world.net.setFaults({})
    const recorded = [...world.wire]
    for (const node of world.nodes) take([THIRD])(node)
    world.got.length = 0
    for (const datagram of recorded) world.inject(datagram)
    expect(world.got).toEqual([])
  })

  it('an epoch that is used up is followed by another', () => {
    world = new World()
    world.close(world.nodes[0]!)
    world.nodes[0] = world.open(1, parseKeys(FIRST), false, 10)
    for (let i = 0; i < 95; i++) world.send(SECRET)
    expect(world.got.length).toBe(95)
    const epochs = new Set(world.wire.map((datagram) => hex(datagram.subarray(8, 16))))
    expect(epochs.size).toBe(10)
  })

  it('files are read line by line, and say which is wrong', () => {
    world = new World()
    expect(parseKeys(`# two\n${FIRST}\n\n${SECOND}\n`).length).toBe(2)
    expect(() => parseKeys('')).toThrow('there is no key')
    expect(() => parseKeys(`${FIRST}\nshort`)).toThrow('line 2: expected 32 octets in base64')
    expect(() => parseKeys(`${FIRST}\n${FIRST}`)).toThrow('line 2: this key is listed already')
    const many = Array.from({ length: 9 }, (_, i) => Buffer.alloc(32, i).toString('base64'))
    expect(() => parseKeys(many.join('\n'))).toThrow('more than 8 keys')
  })
})

describe('the replay window', () => {
  it('does what a set does, for numbers in any order', () => {
    world = new World()
    const random = new Random(9)
    for (const start of [0, 2 ** 32 - 3000, 2 ** 45]) {
      const window = new ReplayWindow()
      const seen = new Set<number>()
      let top = -1
      for (let i = 0; i < 30_000; i++) {
        const jump = random.chance(1) ? random.below(800) : 0
        const number = Math.max(start, start + Math.floor(i / 2) - random.below(1500) + jump)
        const fresh = window.isFresh(number)
        if (seen.has(number)) expect(fresh).toBe(false)
        else if (number > top - WINDOW) expect(fresh).toBe(true)
        if (!fresh) continue
        window.mark(number)
        seen.add(number)
        top = Math.max(top, number)
      }
      expect(seen.size).toBeGreaterThan(5000)
    }
  })
})

it('whatever comes as a sealed datagram is refused without a throw', () => {
  world = new World()
  const random = new Random(4)
  for (let i = 0; i < 5000; i++) {
    const bytes = Uint8Array.from({ length: random.below(120) }, () => random.bits())
    if (bytes.length > 0) bytes[0] = 0x40
    world.inject(
      bytes,
      random.below(3) - 1,
      random.chance(30) ? 1 + random.below(50) : bytes.length,
    )
  }
  expect(world.got).toEqual([])
  world.send(SECRET, join('239.1.2.3'))
  expect(world.got.length).toBe(1)
})
