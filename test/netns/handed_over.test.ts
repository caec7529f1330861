/**
 * TAPs that others move and configure, and that outlive us: what Docker's driver rests on, with
 * both engines.
 */
import { unlinkSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type EngineChoice, Runtime } from '../../services/runtime.ts'
import type { Device } from '../../stack/device.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { addNetns, deleteNetns } from '../../stack/native/netns.ts'
import { run } from './lab.ts'

const MAC = '02:00:00:00:00:77'

describe.each(['io_uring', 'poll'] as const)('an interface that is handed over (%s)', (engine) => {
  const netns = `tlhand${process.pid}`
  const path = `/var/run/netns/${netns}`
  const name = `tlh${process.pid}`
  const runtimes: Runtime[] = []

  beforeEach(() => addNetns(netns))

  afterEach(async () => {
    for (const runtime of runtimes.splice(0)) runtime.close()
    deleteNetns(netns)
    await run(['ip', 'link', 'del', name])
  })

  function runtime(choice: EngineChoice = engine): Runtime {
    const made = new Runtime({ engine: choice, smallCount: 256, largeCount: 32 })
    runtimes.push(made)
    return made
  }

  function attach({ links }: Runtime): Promise<Device> {
    return links.attach({
      sandbox: 's',
      netns: path,
      interfaceName: 'eth0',
      deviceName: 's/eth0',
      mac: parseMac(MAC),
      mtuBytes: 1400,
      addresses: [],
      routes: [],
      offload: true,
      handOver: name,
    })
  }

  const ip = async (...args: string[]) => (await run(['ip', ...args])).stdout
  const inside = async () => await ip('-n', netns, '-d', 'link', 'show', 'eth0')

  /** What Docker does with it. */
  async function move(): Promise<void> {
    await ip('link', 'set', name, 'netns', netns, 'name', 'eth0')
    await ip('-n', netns, 'addr', 'add', '10.9.0.2/24', 'dev', 'eth0')
    await ip('-n', netns, 'link', 'set', 'eth0', 'up')
  }

  /** A process that made it has ended, and left it where it was moved to. */
  async function leaveBehind(): Promise<void> {
    const first = runtime()
    await attach(first)
    await move()
    first.links.handedOver.leave()
    first.close()
  }

  /** Frames that a device hears while the sandbox asks for a neighbor. */
  async function hear(device: Device, { pool }: Runtime): Promise<number> {
    let count = 0
    device.output = (packet) => {
      count++
      pool.free(packet)
    }
    await run(['ip', 'netns', 'exec', netns, 'ping', '-c1', '-W1', '10.9.0.9'])
    return count
  }

  it('is left here as it was asked for, and carries frames once it was moved', async () => {
    const first = runtime()
    const device = await attach(first)
    expect(await ip('link', 'show', name)).toMatch(/mtu 1400 .*state DOWN/)
    expect(await ip('addr', 'show', name)).not.toContain('inet')
    await move()
    expect(await inside()).toContain(MAC)
    expect(await hear(device, first)).toBeGreaterThan(0)
    first.links.detach(device)
    await expect.poll(inside).toBe('')
  })

  it('outlives us with all that it was set to, and is taken up again', async () => {
    await leaveBehind()
    await expect.poll(inside).toContain('NO-CARRIER')
    expect(await ip('-n', netns, 'addr', 'show', 'eth0')).toContain('10.9.0.2/24')
    const second = runtime()
    expect(second.links.handedOver.fate(name, path)).toBe('there')
    const device = await attach(second)
    expect(await inside()).not.toContain('NO-CARRIER')
    expect(await hear(device, second)).toBeGreaterThan(0)
    second.links.detach(device)
    await expect.poll(inside).toBe('')
    expect(second.links.handedOver.fate(name, path)).toBe('lost')
  })

  it('has ended with its namespace, also where somebody took it out of that', async () => {
    await leaveBehind()
    await ip('-n', netns, 'link', 'set', 'eth0', 'netns', String(process.pid), 'name', name)
    expect(await ip('link', 'show', name)).toContain(MAC)
    const second = runtime()
    expect(second.links.handedOver.fate(name, path)).toBe('there')
    deleteNetns(netns)
    expect(second.links.handedOver.fate(name, path)).toBe('ended')
    writeFileSync(path, '')
    expect(second.links.handedOver.fate(name, path)).toBe('ended')
    unlinkSync(path)
    const ours = (other: string): boolean => other === name
    await expect.poll(() => second.links.handedOver.removeUnclaimed(ours)).toEqual([name])
  })

  it('is found again after others were settled', async () => {
    await leaveBehind()
    const second = runtime()
    expect(second.links.handedOver.fate(name, path)).toBe('there')
    second.links.handedOver.removeUnclaimed(() => false)
    const device = await attach(second)
    expect(await inside()).not.toContain('NO-CARRIER')
    expect(await hear(device, second)).toBeGreaterThan(0)
  })

  it('stays where it is when what it was taken up for fails', async () => {
    await leaveBehind()
    const second = runtime()
    const { handedOver } = second.links
    expect(handedOver.fate(name, path)).toBe('there')
    await handedOver.keeping(async () => second.links.detach(await attach(second)))
    handedOver.removeUnclaimed(() => false)
    expect(await inside()).toContain('NO-CARRIER')
    const device = await attach(second)
    expect(await hear(device, second)).toBeGreaterThan(0)
    second.links.detach(device)
    await expect.poll(inside).toBe('')
  })

  it('waits for one who still has it', async () => {
    const first = runtime()
    await attach(first)
    await move()
    const second = runtime()
    const taken = attach(second)
    first.links.handedOver.leave()
    first.close()
    expect(await hear(await taken, second)).toBeGreaterThan(0)
  })

  it('is removed if nobody ever moved it, but not while it is in use', async () => {
    const first = runtime()
    const second = runtime()
    await attach(first)
    const ours = (other: string): boolean => other === name
    expect(second.links.handedOver.removeUnclaimed(ours)).toEqual([])
    first.links.handedOver.leave()
    first.close()
    await expect.poll(() => second.links.handedOver.removeUnclaimed(ours)).toEqual([name])
    await expect.poll(() => ip('link', 'show', name)).toBe('')
  })

  it('is lost with its namespace, which it does not keep', async () => {
    const first = runtime()
    const device = await attach(first)
    const lost = new Promise<string>((resolve) => {
      device.onLost = resolve
    })
    await move()
    deleteNetns(netns)
    expect(await lost).toBe('the interface or its namespace is gone')
  })
})
