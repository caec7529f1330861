/** A capture whose reader is too slow: bounded, counted, and said in the capture itself. */
import { describe, expect, it } from 'vitest'
import { BACKLOG_BYTES_MAX, CaptureSession } from '../../services/capture/session.ts'
import { type CapturedFrame, PcapngReader } from '../../stack/eth/pcapng_reader.ts'

function capture(count?: number): {
  session: CaptureSession
  state: { backlog: number; ends: number; nowUs: number }
  frames: () => CapturedFrame[]
} {
  const reader = new PcapngReader()
  const state = { backlog: 0, ends: 0, nowUs: 1_700_000_000_000_000 }
  const session = new CaptureSession({
    filter: (mem, at) => mem[at] !== 0xff,
    count,
    nowUs: () => state.nowUs++,
    write: (bytes) => reader.push(bytes),
    backlogBytes: () => state.backlog,
    end: () => state.ends++,
  })
  const frames = (): CapturedFrame[] => {
    const list: CapturedFrame[] = []
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) list.push(frame)
    return list
  }
  return { session, state, frames }
}

const mem = new Uint8Array(256).fill(7)

describe('a capture session', () => {
  it('leaves frames out while the reader is too slow, and says how many', () => {
    const { session, state, frames } = capture()
    session.sink('web1/eth0', 'in', mem, 0, 60)
    state.backlog = BACKLOG_BYTES_MAX + 1
    for (let i = 0; i < 3; i++) session.sink('web1/eth0', 'in', mem, 0, 60)
    state.backlog = 0
    session.sink('web2/eth0', 'out', mem, 10, 61)
    session.sink('web2/eth0', 'out', mem, 10, 61)
    const comment = '3 frames were left out before this one: the reader is too slow'
    const seen = frames().map((frame) => [frame.interface.name, frame.direction, frame.comment])
    expect(seen).toEqual([
      ['web1/eth0', 'in', undefined],
      ['web2/eth0', 'out', comment],
      ['web2/eth0', 'out', undefined],
    ])
  })

  it('ends once after so many frames, and counts only those that are wanted', () => {
    const { session, state, frames } = capture(2)
    mem[100] = 0xff
    for (let i = 0; i < 5; i++) {
      session.sink('web1/eth0', 'in', mem, 100, 60)
      session.sink('web1/eth0', 'in', mem, 0, 60)
    }
    expect(frames()).toHaveLength(2)
    expect(state.ends).toBe(1)
  })

  it('copies what it saw', () => {
    const { session, frames } = capture()
    mem.fill(1, 0, 60)
    session.sink('web1/eth0', 'in', mem, 0, 60)
    mem.fill(2, 0, 60)
    expect([...frames()[0]!.bytes]).toEqual(new Array(60).fill(1))
  })
})
