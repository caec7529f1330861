/**
 * tapline with many sandboxes: what an idle daemon costs, and how long a large file takes to come
 * up and to go down again, with nothing left behind.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { atExit } from '../cleanup.ts'
import { processSeconds, residentMb } from '../cpu.ts'
import { listLinks, listNetns, PREFIX } from '../netns.ts'
import type { Options } from '../options.ts'
import { FILE_NAME, type SandboxSpec, startTapline, taplineFile } from '../peers/tapline.ts'
import { type FleetSize, IDLE_FLEET, LARGE_FLEET, type Metrics } from '../questions.ts'
import { runSync } from '../shell.ts'

const LIMIT_MS = 60_000
/** After `ready`: announcements, first garbage collections, compilation. */
const SETTLE_MS = 2_000
const IDLE_MS = 10_000
const QUICK_IDLE_MS = 2_000

/** The file: sandboxes spread evenly over networks. Their namespaces are made by tapline. */
export function fleetFile({ sandboxes, networks }: FleetSize): string {
  const names = Array.from({ length: networks }, (_, i) => i + 1)
  const specs = Array.from({ length: sandboxes }, (_, i): SandboxSpec => {
    const network = (i % networks) + 1
    const host = 11 + Math.floor(i / networks)
    const name = `s${i + 1}`
    const address = `10.78.${network}.${host}`
    return { name, netns: `${PREFIX}fleet-${name}`, network: `n${network}`, address }
  })
  const subnets = Object.fromEntries(names.map((n) => [`n${n}`, `10.78.${n}.0/24`]))
  return taplineFile('fleet', subnets, specs)
}

export async function measureFleet(options: Options): Promise<Metrics> {
  const folder = mkdtempSync(join(tmpdir(), `${PREFIX}fleet-`))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  const forget = atExit(remove)
  const idle = await measureIdle(folder, options)
  const load = await measureLoad(folder, options)
  remove()
  forget()
  return { ...idle, ...load }
}

async function measureIdle(folder: string, options: Options): Promise<Metrics> {
  const daemon = await startTapline(fleetFile(IDLE_FLEET), { folder }, options)
  try {
    await sleep(SETTLE_MS)
    const before = processSeconds(daemon.pid)
    const fromMs = performance.now()
    await sleep(options.quick ? QUICK_IDLE_MS : IDLE_MS)
    const usedS = processSeconds(daemon.pid) - before
    const tookS = (performance.now() - fromMs) / 1000
    return { idleCpuPct: (usedS / tookS) * 100, rssMb: residentMb(daemon.pid) }
  } finally {
    await daemon.stop()
  }
}

async function measureLoad(folder: string, options: Options): Promise<Metrics> {
  const linksBefore = new Set(listLinks())
  const forget = atExit(removeFleet)
  const daemon = await startTapline(fleetFile(LARGE_FLEET), { folder, limitMs: LIMIT_MS }, options)
  const { tookMs, exitCode } = await daemon.stop()
  if (exitCode !== 0) throw new Error(`tapline up ended with ${exitCode} after SIGTERM`)
  const links = listLinks().filter((link) => !linksBefore.has(link))
  const files = readdirSync(folder).filter((file) => file !== FILE_NAME)
  const leftovers = fleetNetns().length + links.length + files.length
  removeFleet()
  forget()
  return { upS: daemon.readyMs / 1000, downS: tookMs / 1000, leftovers }
}

function fleetNetns(): string[] {
  return listNetns().filter((name) => name.startsWith(`${PREFIX}fleet-`))
}

/** What a daemon that failed has left, so that the benchmark does not. */
function removeFleet(): void {
  for (const name of fleetNetns()) runSync(['ip', 'netns', 'del', name])
}
