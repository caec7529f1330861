/**
 * Where the two differ on purpose, or because the kernel can what we cannot: each shown by the
 * least that shows it, from bridges that know of a querier behind `q` and nothing else. Why it is
 * so is in docs/multicast.md.
 */
import { data, groupFrame, igmp, report } from '../../ip/group_lab.ts'
import type { Both, PortName, Reach, Versions } from './both.ts'
import { address, host, NOWHERE, QUERIERS, question, told } from './script.ts'

export interface Difference {
  readonly what: string
  /** Which versions the kernel goes by; undefined: it is so with both. */
  readonly versions?: Versions
  /** True: nobody has asked yet. */
  readonly unasked?: boolean
  readonly play: (rig: Both) => Promise<Reach> | Reach
  readonly kernel: string
  readonly ours: string
}

const GROUPS = ['239.1.2.3', 'ff05::1:3'] as const
/** Where reports of the new versions go. */
const ROUTERS = ['224.0.0.22', 'ff02::16'] as const
const ALL = 'q fast slow never always'
const IS_INCLUDE = 1
const TO_INCLUDE = 3
const TO_EXCLUDE = 4
const ALLOW = 5
const BLOCK = 6
/** In which hosts answer {@link question}. */
export const ANSWER_MS = 100

/** Where a group frame from the second of the fast ports goes. */
function probe(rig: Both, group: string): Reach {
  return rig.send('fast2', data(group, host('fast2')))
}

/** Where group frames go after these reports by the port `fast`. */
function after(rig: Both, family: 0 | 1, ...types: readonly number[]): Reach {
  for (const type of types) {
    const sources = type === BLOCK ? [address('slow', family)] : []
    const payload = report({ type, group: GROUPS[family], sources })
    rig.send('fast', told('fast', ROUTERS[family], payload))
  }
  return probe(rig, GROUPS[family])
}

/** Where a frame of `fast` goes that is data but for what was done to it. */
function damaged(rig: Both, family: 0 | 1, damage: (bytes: Uint8Array) => Uint8Array): Reach {
  return rig.send('fast', damage(data(GROUPS[family], host('fast'))))
}

/** A frame of a port's station to a group. */
function sent(from: PortName, to: string, protocol: number, payload: readonly number[]) {
  return groupFrame({ station: host(from), to, payload, protocol })
}

/** With 802.1Q tag. */
function tagged(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from([...bytes.subarray(0, 12), 0x81, 0, 0, 5, ...bytes.subarray(12)])
}

/** A report that claims a record more than it has. */
function cutReport(): Uint8Array {
  const payload = report({ type: TO_EXCLUDE, group: GROUPS[0] })
  payload[7]!++
  const checksum = payload[2]! * 256 + payload[3]! - 1
  payload[2] = checksum >>> 8
  payload[3] = checksum & 0xff
  return told('fast', ROUTERS[0], payload)
}

/** Ask the only member of the group, who does not answer, and wait. */
async function silence(rig: Both, ms: number, flags: number): Promise<Reach> {
  rig.send('slow', told('slow', GROUPS[0], igmp(0x16, 0, GROUPS[0])))
  rig.send('q', question(QUERIERS[0], GROUPS[0], { flags, code: ms / 100 }))
  await rig.wait(2 * ms)
  return probe(rig, GROUPS[0])
}

const REPORTS: readonly Difference[] = [
  {
    what: 'a report before anybody asked',
    unasked: true,
    play: (rig) => rig.send('fast', told('fast', GROUPS[0], igmp(0x16, 0, GROUPS[0]))),
    kernel: 'q fast2 slow never always',
    ours: 'always',
  },
  {
    what: 'BLOCK of a group that nobody wants',
    versions: 'old',
    play: (rig) => after(rig, 1, BLOCK),
    kernel: 'q fast always',
    ours: 'q always',
  },
  {
    what: 'ALLOW of no source',
    versions: 'old',
    play: (rig) => after(rig, 0, ALLOW),
    kernel: 'q fast always',
    ours: 'q always',
  },
  {
    what: 'a group wanted already, then IS_INCLUDE of no source',
    versions: 'new',
    play: (rig) => after(rig, 0, TO_EXCLUDE, IS_INCLUDE),
    kernel: 'q fast always',
    ours: 'q always',
  },
  {
    what: 'one of two stations behind a fast port leaves',
    versions: 'new',
    play: (rig) => {
      const payload = report({ type: TO_EXCLUDE, group: GROUPS[0] })
      rig.send('fast', told('fast', ROUTERS[0], payload, '10.1.0.77'))
      return after(rig, 0, TO_EXCLUDE, TO_INCLUDE)
    },
    kernel: 'q fast always',
    ours: 'q always',
  },
  {
    what: 'a report that is cut short',
    play: (rig) => {
      rig.send('fast', cutReport())
      return probe(rig, GROUPS[0])
    },
    kernel: 'q fast always',
    ours: 'q always',
  },
  {
    what: 'a report of MLD from an address that is not link-local',
    play: (rig) => {
      const payload = report({ type: TO_EXCLUDE, group: GROUPS[1] })
      rig.send('fast', told('fast', ROUTERS[1], payload, 'fd00::1'))
      return probe(rig, GROUPS[1])
    },
    kernel: 'q fast always',
    ours: 'q always',
  },
  {
    what: 'a report of MLD from further away than the link',
    play: (rig) => {
      const payload = report({ type: TO_EXCLUDE, group: GROUPS[1] })
      const bytes = told('fast', ROUTERS[1], payload)
      bytes[14 + 7] = 2
      rig.send('fast', bytes)
      return probe(rig, GROUPS[1])
    },
    kernel: 'q fast always',
    ours: 'q always',
  },
  {
    what: 'a tagged report, where tags are payload',
    play: (rig) => {
      rig.send('fast', tagged(told('fast', GROUPS[0], igmp(0x16, 0, GROUPS[0]))))
      return probe(rig, GROUPS[0])
    },
    kernel: 'q fast always',
    ours: 'q always',
  },
]

const ROUTERS_AND_QUESTIONS: readonly Difference[] = [
  {
    what: 'a PIM hello over IPv6',
    play: (rig) => {
      rig.send('fast', sent('fast', 'ff02::d', 103, [0x20, 0, 0, 0]))
      return probe(rig, GROUPS[1])
    },
    kernel: 'q always',
    ours: 'q fast always',
  },
  {
    what: 'a router that advertises itself (RFC 4286)',
    play: (rig) => {
      rig.send('fast', sent('fast', '224.0.0.106', 2, igmp(0x30, 20, '0.0.0.0')))
      return probe(rig, GROUPS[0])
    },
    kernel: 'q fast always',
    ours: 'q always',
  },
  {
    what: 'a second one asks, with a higher address',
    play: (rig) => {
      rig.send('fast', question('10.1.0.9', NOWHERE[0]!))
      return probe(rig, GROUPS[0])
    },
    kernel: 'q always',
    ours: 'q fast always',
  },
  {
    what: 'somebody without an address asks',
    unasked: true,
    play: async (rig) => {
      rig.send('fast', question(NOWHERE[0]!, NOWHERE[0]!))
      await rig.wait(ANSWER_MS)
      return probe(rig, GROUPS[0])
    },
    kernel: 'fast always',
    ours: ALL,
  },
  {
    what: 'who asks is behind a port that never leads to a router',
    unasked: true,
    play: async (rig) => {
      rig.send('never', question(QUERIERS[1], NOWHERE[1]!))
      await rig.wait(ANSWER_MS)
      return probe(rig, GROUPS[1])
    },
    kernel: 'always',
    ours: ALL,
  },
  {
    what: 'a question about a group that leaves little time',
    play: (rig) => silence(rig, 200, 2),
    kernel: 'q always',
    ours: 'q slow always',
  },
  {
    what: 'a question with bit S, on which nobody is to act',
    versions: 'old',
    play: (rig) => silence(rig, 1000, 2 | 8),
    kernel: 'q always',
    ours: 'q slow always',
  },
]

const FRAMES: readonly Difference[] = [
  {
    what: 'a group of the link, over IPv6',
    play: (rig) => probe(rig, 'ff02::1:ff00:1'),
    kernel: 'q always',
    ours: ALL,
  },
  {
    what: 'an IGMP message of unknown type',
    play: (rig) => rig.send('fast', sent('fast', GROUPS[0], 2, igmp(0x1f, 0, GROUPS[0]))),
    kernel: 'q always',
    ours: 'q fast2 slow never always',
  },
  {
    what: 'a part of an IGMP message',
    play: (rig) => {
      const bytes = told('fast', ROUTERS[0], report({ type: TO_EXCLUDE, group: GROUPS[0] }))
      bytes[14 + 6] = 0x20
      return rig.send('fast', bytes)
    },
    kernel: 'nobody',
    ours: 'q fast2 slow never always',
  },
  {
    what: 'an IPv4 header that is none',
    play: (rig) => damaged(rig, 0, (bytes) => bytes.fill(0x44, 14, 15)),
    kernel: 'nobody',
    ours: 'q fast2 slow never always',
  },
  {
    what: 'an IPv4 packet with a wrong header checksum',
    play: (rig) => damaged(rig, 0, (bytes) => bytes.fill(0, 24, 26)),
    kernel: 'nobody',
    ours: 'q always',
  },
  {
    what: 'an IPv6 packet that is cut short',
    play: (rig) => damaged(rig, 1, (bytes) => bytes.subarray(0, 40)),
    kernel: 'nobody',
    ours: 'q fast2 slow never always',
  },
  {
    what: 'an echo behind hop-by-hop options, with a wrong checksum',
    play: (rig) => {
      const bytes = sent('fast', GROUPS[1], 58, [128, 0, 0, 0, 1, 2, 3, 4])
      bytes[bytes.length - 1]! ^= 1
      return rig.send('fast', bytes)
    },
    kernel: 'nobody',
    ours: 'q always',
  },
  {
    what: 'a tagged frame, where tags are payload',
    play: (rig) => damaged(rig, 0, tagged),
    kernel: 'q always',
    ours: 'q fast2 slow never always',
  },
]

export const DIFFERENCES: readonly Difference[] = [...REPORTS, ...ROUTERS_AND_QUESTIONS, ...FRAMES]
