/**
 * A capture as traffic: its frames come in by a device of the node, as if the sandbox behind it had
 * sent them. They are not of the link, and know nothing of its faults. A transport checksum that is
 * no more than the pseudo-header's sum was left open by its sender, as kernels and hosts in memory
 * do, and is so again.
 */
import { readFileSync } from 'node:fs'
import { u16 } from '../../stack/bytes.ts'
import { StackError } from '../../stack/errors.ts'
import * as eth from '../../stack/eth/frame.ts'
import { PcapngDevice } from '../../stack/eth/pcapng_device.ts'
import { PcapngReader } from '../../stack/eth/pcapng_reader.ts'
import { pseudo } from '../../stack/ip/header.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import * as tcp from '../../stack/ip/tcp.ts'
import { isWhole, locate, offsetOf, protocolOf } from '../../stack/ip/transport.ts'
import * as udp from '../../stack/ip/udp.ts'
import type { Packet } from '../../stack/packet.ts'
import type { Controller } from '../controller.ts'
import { type Driver, sleep } from './driver.ts'
import { checkOptions, REPLAY } from './options.ts'

/** Frames between two breaths of the fabric. */
const BATCH_FRAMES = 64
const ENDED = 'the capture has ended'

export interface ReplayOptions {
  /** Of the capture, such as `web/eth0`; left out: every one. */
  readonly interface?: string
}

export interface Replayed {
  readonly frames: number
  /** Sent by the capturing node, cut short, of another interface or link type. */
  readonly skipped: number
}

/**
 * @param capture - a pcapng file by its name, or its octets.
 * @throws StackError `not-found`: no such device; `bad-argument`: it cannot be read, or is no
 *   pcapng from some frame on; those before it were replayed.
 */
export async function replay(
  { node }: Controller,
  driver: Driver,
  {
    device: name,
    capture,
    options,
  }: {
    readonly device: string
    readonly capture: string | Uint8Array
    readonly options: ReplayOptions
  },
): Promise<Replayed> {
  checkOptions(`options of the replay by ${name}`, REPLAY, options)
  const device = node.edges().find((edge) => edge.device.name === name)?.device
  if (device === undefined) throw new StackError('not-found', `no device ${name}`)
  const { pool, clock } = node.context
  const source = new PcapngReader()
  source.push(typeof capture === 'string' ? read(capture) : capture)
  const only = options.interface
  const from = new PcapngDevice({
    name: `${name} (replay)`,
    pool,
    clock,
    source,
    ...(only === undefined ? {} : { interfaceName: only }),
  })
  from.end()
  let frames = 0
  let end: string | undefined
  from.onLost = (why) => {
    end = why
  }
  from.output = (packet) => {
    frames++
    packet.ingress = device.port
    markOpen(pool.mem, packet)
    device.output(packet)
  }
  try {
    while (end === undefined) {
      from.poll(BATCH_FRAMES)
      await sleep(driver, 0)
    }
  } finally {
    from.close()
  }
  if (end !== ENDED) throw new StackError('bad-argument', `replay by ${name}: ${end}`)
  return { frames, skipped: from.skipped }
}

function markOpen(mem: Uint8Array, packet: Packet): void {
  const ip = packet.head + eth.HEADER_BYTES
  const bytes = packet.len - eth.HEADER_BYTES
  const type = eth.type(mem, packet.head)
  const isFour = type === eth.EtherType.Ipv4 && ipv4.isHeader(mem, ip, bytes)
  if (!isFour && !(type === eth.EtherType.Ipv6 && ipv6.isHeader(mem, ip, bytes))) return
  const whole = isFour ? ipv4.totalBytes(mem, ip) : ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip)
  const found = locate(mem, ip, ip + whole)
  const protocol = isWhole(found) ? protocolOf(found) : 0
  const field = protocol === ipv4.Protocol.Tcp ? tcp.CHECKSUM : udp.CHECKSUM
  if (protocol !== ipv4.Protocol.Tcp && protocol !== ipv4.Protocol.Udp) return
  const at = ip + offsetOf(found)
  const rest = ip + whole - at
  if (rest < field + 2 || u16(mem, at + field) !== pseudo(mem, ip, protocol, rest)) return
  packet.csumStart = at
  packet.csumOffset = field
}

function read(file: string): Uint8Array {
  try {
    return readFileSync(file)
  } catch (error) {
    throw new StackError('bad-argument', `capture ${file}: ${(error as Error).message}`)
  }
}
