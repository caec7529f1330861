/**
 * A controller on cables, with the far ends of all cables in the hands of the test: frames are put
 * in there and looked at there. Links can be told to fail, and count what they are asked.
 */
import { expect } from 'vitest'
import { Controller } from '../../services/controller.ts'
import type { Borrowed, BorrowRequest, Inside, LinkRequest, Links } from '../../services/links.ts'
import type { Log } from '../../services/log.ts'
import { VirtualClock } from '../../stack/clock.ts'
import type { Device, Offload } from '../../stack/device.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import { Cable } from '../../stack/eth/memory.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { config } from './generate.ts'

const OFFLOAD: Offload = { csum: true, tso: true, uso: true }

export class Rig implements Links {
  readonly describe = 'rig'
  readonly pool: Pool = new Pool({ smallCount: 512, largeCount: 16, checked: true })
  readonly clock: VirtualClock = new VirtualClock()
  readonly logged: string[] = []
  readonly controller: Controller
  /** Calls, in order, such as `attach web/eth0`. */
  readonly calls: string[] = []
  /** What the last interface that was borrowed is to hear. */
  stations: readonly Mac[] = []
  /** What interfaces were given after they were made. */
  readonly inside: Map<string, Inside> = new Map()
  /** Calls that throw. */
  readonly failing: Set<string> = new Set()
  /** Run before each call. */
  onCall: (call: string) => void = () => {}
  readonly #cables = new Map<string, Cable>()
  readonly #requests = new Map<string, LinkRequest>()
  readonly #polled = new Set<Device>()
  readonly #received = new Map<string, Buffer[]>()
  readonly #random = new Random(11)

  constructor() {
    const say = (_: object, message: string): void => {
      this.logged.push(message)
    }
    const log: Log = { info: () => {}, warn: say, error: say }
    const { pool, clock } = this
    this.controller = new Controller({
      pool,
      clock,
      random: new Random(7),
      links: this,
      log,
      onDevice: (device, added) => {
        expect(this.#polled.has(device)).toBe(!added)
        if (added) this.#polled.add(device)
        else this.#polled.delete(device)
      },
    })
  }

  async apply(source: string | object, signal?: AbortSignal): Promise<string[]> {
    const { steps } = await this.controller.apply(config(source), signal)
    return steps.map(({ action, subject }) => `${action} ${subject}`)
  }

  /** A cable whose far end is what the interface hears. */
  borrow({ deviceName, stations }: BorrowRequest): Borrowed {
    this.#call(`borrow ${deviceName}`)
    const device = this.#plug(deviceName, 1500, OFFLOAD)
    this.stations = stations
    const setStations = (now: readonly Mac[]): void => {
      this.stations = now
    }
    return { device, mac: { hi: 0x0200, lo: 0xff }, setStations }
  }

  readdress(device: Device, inside: Inside): void {
    this.#call(`readdress ${device.name}`)
    this.inside.set(device.name, inside)
  }

  prepare({ name }: { readonly name: string }): void {
    this.#call(`prepare ${name}`)
  }

  release({ name }: { readonly name: string }): void {
    this.#call(`release ${name}`)
  }

  async attach(request: LinkRequest): Promise<Device> {
    await Promise.resolve()
    const name = request.deviceName
    this.#call(`attach ${name}`)
    const { mtuBytes } = request
    const offload = { csum: request.offload, tso: request.offload, uso: request.offload }
    this.#requests.set(name, request)
    return this.#plug(name, mtuBytes, offload)
  }

  #plug(name: string, mtuBytes: number, offload: Offload): Device {
    expect(this.#cables.has(name)).toBe(false)
    const { pool, clock } = this
    const ends = [name, `${name} (host)`] as const
    const cable = new Cable({ name, ends, pool, clock, random: this.#random, mtuBytes, offload })
    this.#cables.set(name, cable)
    this.#received.set(name, [])
    cable.b.output = (packet) => {
      const { head, len } = packet
      this.#received.get(name)!.push(Buffer.from(pool.mem.slice(head, head + len)))
      pool.free(packet)
    }
    return cable.a
  }

  detach(device: Device): void {
    const cable = this.#cables.get(device.name)
    expect(cable?.a, 'detached once').toBe(device)
    this.#cables.delete(device.name)
    cable!.close()
    this.#call(`detach ${device.name}`)
  }

  close(): void {
    this.#call('close')
  }

  /** What the sandbox was asked to look like. */
  request(device: string): LinkRequest {
    return this.#requests.get(device)!
  }

  devices(): string[] {
    return [...this.#cables.keys()]
  }

  /** The node's end of a cable. */
  device(name: string): Device {
    return this.#cables.get(name)!.a
  }

  /** Lose a device as a dying namespace does. */
  lose(name: string): void {
    this.device(name).onLost('its namespace is gone')
  }

  /** Send a frame from inside a sandbox. */
  inject(device: string, frame: Uint8Array): void {
    const packet = this.pool.alloc(frame.length)!
    this.pool.mem.set(frame, packet.head)
    packet.len = frame.length
    this.#cables.get(device)!.b.transmit(packet)
    this.run()
  }

  /** Breathe until nothing moves. */
  run(): void {
    for (;;) {
      let moved = 0
      for (const device of this.#polled) moved += device.poll(64)
      for (const { b } of this.#cables.values()) moved += b.poll(64)
      if (moved === 0) return
    }
  }

  /** Let time pass. */
  pass(ms: number): void {
    const until = this.clock.nowMs + ms
    while (this.clock.step(until)) this.run()
    this.clock.jump(until)
  }

  /** Frames that came out at a sandbox since the last call, as hexadecimal digits. */
  received(device: string): string[] {
    this.run()
    return (this.#received.get(device) ?? []).splice(0).map((frame) => frame.toString('hex'))
  }

  /** Forget what came out so far. */
  quiet(): void {
    this.run()
    for (const list of this.#received.values()) list.length = 0
  }

  /** Close, and prove that nothing is left. */
  async finish(): Promise<void> {
    await this.controller.close()
    this.balance()
    expect(this.calls.filter((call) => call === 'close')).toHaveLength(1)
  }

  balance(): void {
    expect(this.#cables.size).toBe(0)
    expect(this.#polled.size).toBe(0)
    expect(this.pool.leaks()).toEqual([])
    expect(this.clock.pending).toBe(0)
    const port = this.pool.counters.acquirePort()
    expect(port, 'all counters given back').toBe(1)
    this.pool.counters.releasePort(port)
  }

  #call(call: string): void {
    this.calls.push(call)
    this.onCall(call)
    if (this.failing.has(call)) throw new Error(`${call} failed`)
  }
}

/** Hexadecimal digits to octets; blanks are for people. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replace(/\s/g, ''), 'hex')
}
