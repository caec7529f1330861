/** Tunnel ends find out whether the other one takes open checksums, and forget it. */
import { expect, test } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Count } from '../../stack/counters.ts'
import { DropReason } from '../../stack/drop.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { MemoryNet } from '../../stack/udp/memory_net.ts'
import { HELLO_BYTES, HELLO_MS, Hello, SILENCE_MAX } from '../../stack/vxlan/hello.ts'

class Lab {
  readonly clock: VirtualClock = new VirtualClock()
  readonly random: Random = new Random(3)
  readonly pool: Pool = new Pool({ smallCount: 64, largeCount: 2, checked: true })
  readonly net: MemoryNet = new MemoryNet({ clock: this.clock, random: this.random })
  /** What each end was told of its peers: true, false, or nothing. */
  readonly told: (boolean | undefined)[] = [undefined, undefined]
  readonly ends = ['10.200.0.1', '10.200.0.2'].map((text, i) => {
    const underlay = this.net.open({ pool: this.pool, address: parseAddress(text), udpPort: 4789 })
    underlay.setOpenChecksums = (_peer?: number, on?: boolean) => {
      this.told[i] = on
    }
    underlay.onDatagram = (packet) => this.pool.free(packet)
    return underlay
  })
  readonly hellos: (Hello | undefined)[] = [undefined, undefined]

  start(i: number): void {
    const { pool, clock, random } = this
    const underlay = this.ends[i]!
    const hello = new Hello({ pool, clock, random, underlay })
    this.hellos[i] = hello
    underlay.onDatagram = (packet, peer) => hello.receive(packet, peer)
    underlay.addPeer({ address: this.ends[1 - i]!.address, udpPort: 4789 })
  }

  run(ms: number): void {
    const until = this.clock.nowMs + ms
    do while (this.ends[0]!.poll(64) + this.ends[1]!.poll(64) > 0);
    while (this.clock.step(until))
  }

  close(): void {
    for (const hello of this.hellos) hello?.close()
    for (const end of this.ends) end.close()
    expect(this.pool.leaks()).toEqual([])
    expect(this.clock.pending).toBe(0)
  }
}

test('two of ours know each other as soon as the second runs', () => {
  const lab = new Lab()
  lab.start(0)
  lab.run(5 * HELLO_MS)
  expect(lab.told).toEqual([false, undefined])
  lab.start(1)
  lab.run(1000)
  expect(lab.told).toEqual([true, true])
  const sent = lab.ends.map(({ port }) => lab.pool.counters.value(port, Count.RxPackets))
  expect(Math.max(...sent)).toBeLessThan(16)
  lab.close()
})

test('who is silent for long is believed to be another', () => {
  const lab = new Lab()
  lab.start(0)
  lab.start(1)
  lab.run(1000)
  expect(lab.told).toEqual([true, true])
  lab.hellos[1]!.close()
  lab.ends[1]!.onDatagram = (packet) => lab.pool.free(packet)
  lab.run((SILENCE_MAX + 2) * HELLO_MS)
  expect(lab.told).toEqual([false, true])
  lab.close()
})

test('answers without the nonce, garbage and strangers change nothing', () => {
  const lab = new Lab()
  lab.start(0)
  const random = new Random(9)
  const hello = [0, 0, 0, 0, 0x74, 0x61, 0x70, 0x6c, 1, 1, 1, 0]
  const before = lab.pool.counters.drops(0, DropReason.VxlanMalformed)
  for (let n = 0; n < 300; n++) {
    const packet = lab.pool.alloc(HELLO_BYTES)!
    packet.len = random.chance(50) ? HELLO_BYTES : random.below(40)
    for (let i = 0; i < 40; i++) lab.pool.mem[packet.head + i] = random.bits()
    const garbled = random.chance(50)
    if (!garbled) lab.pool.mem.set(hello, packet.head)
    lab.hellos[0]!.receive(packet, random.chance(20) ? -1 : 0)
  }
  expect(lab.told).toEqual([undefined, undefined])
  expect(lab.pool.counters.drops(0, DropReason.VxlanMalformed)).toBeGreaterThan(before + 100)
  lab.run(100)
  lab.close()
})
