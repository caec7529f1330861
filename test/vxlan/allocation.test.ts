/** Tunnels make no garbage: known, flooded, learned; into the underlay and out of it. */
import { expect, test } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { type Mac, parseMac } from '../../stack/eth/mac.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { PeerTable } from '../../stack/udp/peer_table.ts'
import type { Underlay } from '../../stack/udp/underlay.ts'
import { Vtep } from '../../stack/vxlan/vtep.ts'
import { garbageOf } from '../collections.ts'
import { frame, pattern, udp } from '../ip/lab.ts'

const WARM = 60_000
/** So many that a page which the collector adds once (256 KB) is below an octet a packet. */
const COUNT = 500_000
const KNOWN: Mac = parseMac('02:00:00:00:00:21')
const UNKNOWN: Mac = parseMac('02:00:00:00:00:99')

/** An underlay whose datagrams come back as if from peer 0. */
function loopback(pool: Pool): Underlay {
  const peers = new PeerTable(1)
  const made: Underlay = {
    name: 'loopback',
    address: parseAddress('10.200.0.1'),
    udpPort: 4789,
    port: pool.counters.acquirePort(),
    onDatagram: (packet) => pool.free(packet),
    pathMtuBytes: () => 1500,
    hostPathBytes: () => 1500,
    limitPath: () => {},
    onPathMtu: () => {},
    onPeer: () => {},
    mayLeaveOpen: false,
    setOpenChecksums: () => {},
    leavesOpen: () => false,
    addPeer: (peer) => peers.add(peer),
    removePeer: (number) => void peers.remove(number),
    peer: (number) => peers.peer(number),
    sourceOf: () => peers.peer(0)!,
    send: (packet) => made.onDatagram(packet, 0, packet.len, 2),
    probe: (packet) => pool.free(packet),
    flush: () => {},
    close: () => {},
  }
  return made
}

const cases = [
  ['to a known station', KNOWN, false],
  ['to every node', UNKNOWN, false],
  ['learned', KNOWN, true],
] as const

for (const [name, to, learning] of cases) {
  test(`${name}: no collection in ${COUNT} frames`, async () => {
    const pool = new Pool({ smallCount: 16, largeCount: 1 })
    const vtep = new Vtep({ pool, underlay: loopback(pool) })
    const gateway = { mac: parseMac('02:56:58:00:00:01'), nodeMac: parseMac('02:4e:00:00:00:01') }
    const tunnel = vtep.open({
      name: 't',
      clock: new VirtualClock(),
      seed: 1,
      vni: 7,
      gateway,
      learning,
    })
    for (const peer of [2, 3, 4]) tunnel.addMember(parseAddress(`10.200.0.${peer}`))
    tunnel.addStation(KNOWN, parseAddress('10.200.0.2'))
    let came = 0
    tunnel.output = (packet: Packet) => {
      came++
      pool.free(packet)
    }
    const bytes = frame(to, udp({ from: '10.1.0.11', to: '10.1.0.12' }, { to: 53 }, pattern(40)))
    const drive = (count: number): void => {
      for (let i = 0; i < count; i++) {
        const packet = pool.alloc(bytes.length)!
        pool.mem.set(bytes, packet.head)
        packet.len = bytes.length
        tunnel.transmit(packet)
      }
    }
    drive(WARM)
    const { collections, grownBytes } = await garbageOf(() => drive(COUNT))
    expect(came).toBe((WARM + COUNT) * (to === KNOWN ? 1 : 3))
    expect(collections).toBe(0)
    expect(grownBytes / COUNT).toBeLessThan(1)
    vtep.close()
    expect(pool.leaks()).toEqual([])
  })
}
