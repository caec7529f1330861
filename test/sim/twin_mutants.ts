/**
 * Flow caches that are wrong, each in one thing: a comparison that does not find them out proves
 * nothing. A mutant is put in place for as long as some work takes.
 */
import { Neighbors } from '../../stack/arp/neighbors.ts'
import { FlowNotes } from '../../stack/flow_notes.ts'
import { FlowTable } from '../../stack/flow_table.ts'
import { FlowGuards } from '../../stack/ip/flow_guards.ts'
import { FlowPath } from '../../stack/ip/flow_path.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import type { Packet } from '../../stack/packet.ts'
import type { Pools } from './twins.ts'

type May = (
  mem: Uint8Array,
  packet: Packet,
  four: boolean,
  ip: number,
  ask: () => boolean,
) => boolean

const IP = 14
const GENEROUS = 64
const ENDLESS = 1_000_000

/** Replace a method; the returned function puts it back. */
function replace<T extends object, K extends keyof T>(on: T, name: K, by: T[K]): () => void {
  const before = on[name]
  on[name] = by
  return () => {
    on[name] = before
  }
}

/** A path that asks its questions of a packet made better for so long. */
function may(lenient: May): () => void {
  const { may: strict } = FlowPath.prototype
  return replace(FlowPath.prototype, 'may', function (this: FlowPath, mem, packet, four, hops) {
    const ask = (): boolean => strict.call(this, mem, packet, four, hops)
    return lenient.call(this, mem, packet, four, packet.head + IP, ask)
  })
}

/** By what is forgotten: puts it in place, and returns what takes it away. */
export const MUTANTS: Readonly<Record<string, (pools: Pools) => () => void>> = {
  'what flows rest on has changed': ({ on }) => {
    const notes = on.notes as { changed: () => void }
    return replace(notes, 'changed', () => {})
  },
  'a connection begins or ends': () => replace(FlowTable.prototype, 'forget', () => {}),
  'a station has aged': () => {
    const { station } = FlowNotes.prototype
    return replace(FlowNotes.prototype, 'station', function (this: FlowNotes, ...args) {
      const [packet, table, entry, port] = args
      const ageless = { isFresh: () => true, refresh: table.refresh.bind(table) }
      station.call(this, packet, ageless, entry, port)
    })
  },
  'a station is heard': () => replace(FlowPath.prototype, 'hear', () => {}),
  'a neighbor is not to be used as it is': () =>
    replace(Neighbors.prototype, 'isUsable', () => true),
  'what a policy admitted is still there': () => replace(FlowGuards.prototype, 'holds', () => true),
  'a policy sees the packet': () => replace(FlowGuards.prototype, 'touch', () => {}),
  'an IPv4 header is wrong': () =>
    may((mem, _packet, four, ip, ask) => {
      if (!four) return ask()
      const kept = mem.slice(ip + ipv4.CHECKSUM, ip + ipv4.CHECKSUM + 2)
      ipv4.putChecksum(mem, ip)
      const answer = ask()
      mem.set(kept, ip + ipv4.CHECKSUM)
      return answer
    }),
  'no hops are left': () =>
    may((mem, _packet, four, ip, ask) => {
      const kept = mem.slice(ip, ip + ipv4.HEADER_BYTES)
      if (four && ipv4.isIntact(mem, ip)) {
        mem[ip + ipv4.TTL] = GENEROUS
        ipv4.putChecksum(mem, ip)
      } else if (!four) mem[ip + 7] = GENEROUS
      const answer = ask()
      mem.set(kept, ip)
      return answer
    }),
  'a packet is too large': () => {
    const { may: strict } = FlowPath.prototype
    return replace(FlowPath.prototype, 'may', function (this: FlowPath, ...args) {
      const path = this as { mtuBytes: number }
      const kept = path.mtuBytes
      if (kept > 0) path.mtuBytes = ENDLESS
      const answer = strict.apply(this, args)
      path.mtuBytes = kept
      return answer
    })
  },
  'offload facts are wrong': () =>
    may((_mem, packet, _four, _ip, ask) => {
      const { csumStart } = packet
      packet.csumStart = 0
      const answer = ask()
      packet.csumStart = csumStart
      return answer
    }),
}
