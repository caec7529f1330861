/**
 * The router against the kernel's: the same packets into both, thousands of them, of both families.
 * Same legs, same octets, but for what each may choose in packets of its own: see `neutral`.
 *
 * What the two do differently on purpose is in docs/router.md, and `EXPECTED` is that list: each
 * must show itself here, and nothing else may.
 */
import { afterEach, expect, test } from 'vitest'
import { Random } from '../../stack/random.ts'
import type { Lab } from '../ip/lab.ts'
import { type Generated, generate } from './router_differential/generate.ts'
import type { KernelRouter } from './router_differential/kernel.ts'
import { kernelRouter, LEGS, ourRouter } from './router_differential/legs.ts'

const EXPECTED = {
  'zero-net': 'the kernel says network unreachable of 0.0.0.0/8 and 240.0.0.0/4; we say nothing',
  'group-frame': 'the kernel takes unicast to itself out of a broadcast frame (RFC 1122 §3.3.6)',
} as const

/** As `EXPECTED`, but the kernel's rate limit decides when: one a second and source. */
const TIMED = {
  'error-rate': 'that limit is for network unreachable alone, and not to be set in a namespace',
  'spoofed-nowhere': 'with no route to the destination the kernel does not look at the source',
} as const

type Excuse = keyof typeof EXPECTED | keyof typeof TIMED

/** Why the two may differ about this; undefined: they may not. */
function excuse(
  { frames }: Generated,
  ours: readonly string[],
  theirs: readonly string[],
): Excuse | undefined {
  const ip = frames[0]!.subarray(14)
  if (ip[0]! >>> 4 !== 4) return undefined
  if (ours.length === 0) {
    if (frames[0]![0] === 0xff) return 'group-frame'
    if (ip[16] === 0 || ip[16]! >= 240) return 'zero-net'
    return theirs.every(isNetUnreachable) ? 'spoofed-nowhere' : undefined
  }
  return ours.every(isNetUnreachable) && theirs.length === 0 ? 'error-rate' : undefined
}

function isNetUnreachable(text: string): boolean {
  const bytes = Buffer.from(text.slice(text.indexOf(' ') + 1), 'hex')
  return bytes[23] === 1 && bytes[34] === 3 && bytes[35] === 0
}

const EVENTS = 6000
/** The kernel answers within the write, but for a busy machine. */
const PATIENCE_MS = 200
/** For packets that are not expected to come out. */
const QUIET_MS = 1

let kernel: KernelRouter | undefined
afterEach(() => {
  kernel?.close()
  kernel = undefined
})

/** Frames of the router, as text that leaves out what is free to choose. */
function throughOurs(lab: Lab, { leg, frames }: Generated): string[] {
  const iface = lab.router.interfaces().find(({ name }) => name === leg.name)!
  for (const bytes of frames) lab.receive(iface, bytes)
  return lab.take().map((sent) => `${sent.leg} ${neutral(sent.bytes)}`)
}

function throughKernel(router: KernelRouter, { leg, frames }: Generated, count: number): string[] {
  for (const bytes of frames) router.send(leg.name, bytes)
  const out: string[] = []
  const untilMs = performance.now() + (count === 0 ? QUIET_MS : PATIENCE_MS)
  do {
    for (const { name } of LEGS) {
      for (let got = router.receive(name); got !== undefined; got = router.receive(name)) {
        if (!isOfItself(got)) out.push(`${name} ${neutral(got)}`)
      }
    }
  } while (out.length < count && performance.now() < untilMs)
  return out
}

/** ARP, neighbor and router discovery, MLD: the kernel's housekeeping. */
function isOfItself(frame: Uint8Array): boolean {
  if (frame[12] === 8) return frame[13] === 6
  if (frame[14 + 6] === 0) return true
  const type = frame[14 + 6] === 58 ? frame[54]! : 0
  return type >= 130 && type <= 143
}

/**
 * The octets of a frame in hex. In packets of the router's own (their source is one of its
 * addresses) the IPv4 identification with its DF bit, the IPv6 flow label and the identification
 * of IPv6 fragments are free, and so is the IPv4 checksum, which follows from them.
 */
function neutral(frame: Uint8Array): string {
  const bytes = frame.slice()
  const ip = bytes.subarray(14)
  if (ip[0]! >>> 4 === 4) {
    const own = LEGS.some(({ own4 }) => own4.includes(ip.slice(12, 16).join('.')))
    if (own) {
      ip.fill(0, 4, 6)
      ip[6]! &= 0x3f
      ip.fill(0, 10, 12)
    }
    return Buffer.from(bytes).toString('hex')
  }
  const own = ip[8] === 0xfe || (ip[15] === 0 && ip[22] === 0 && ip[23] === 1)
  if (own) {
    ip.fill(0, 2, 4)
    ip[1]! &= 0xf0
    if (ip[6] === 44) ip.fill(0, 44, 48)
  }
  return Buffer.from(bytes).toString('hex')
}

function brief(frames: readonly string[]): string {
  return frames.map((text) => text.slice(0, 170)).join('\n      ') || 'nothing'
}

test('same legs, same octets', () => {
  const theirs = kernelRouter()
  kernel = theirs
  const lab = ourRouter()
  throughKernel(theirs, { leg: LEGS[0]!, frames: [], what: 'settle' }, 1)
  const random = new Random(4)
  const faults: string[] = []
  const seen = new Set<Excuse>()
  const counts = { sent: 0, silent: 0 }
  for (let event = 0; event < EVENTS && faults.length < 8; event++) {
    const generated = generate(random)
    lab.run(1)
    const ours = throughOurs(lab, generated).sort()
    const kernels = throughKernel(theirs, generated, ours.length).sort()
    counts[ours.length > 0 ? 'sent' : 'silent']++
    if (ours.join() === kernels.join()) continue
    const why = excuse(generated, ours, kernels)
    if (why !== undefined) {
      seen.add(why)
      continue
    }
    const sent = generated.frames.map((bytes) => Buffer.from(bytes).toString('hex'))
    faults.push(
      `${event} ${generated.what} by ${generated.leg.name}:
      ${brief(sent)}
    ours: ${brief(ours)}
    kernel: ${brief(kernels)}`,
    )
  }
  expect(faults.join('\n')).toBe('')
  expect(counts.sent).toBeGreaterThan(EVENTS / 2)
  expect(counts.silent).toBeGreaterThan(EVENTS / 10)
  for (const why of Object.keys(EXPECTED)) expect(seen).toContain(why)
  lab.end()
})
