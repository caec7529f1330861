/** How time passes in a fabric. */
import { describe, expect, it } from 'vitest'
import { SystemDriver, sleep, VirtualDriver } from '../../services/fabric/driver.ts'
import { every } from '../../stack/clock.ts'
import type { Device } from '../../stack/device.ts'
import { NO_OFFLOAD } from '../../stack/device.ts'

/** A device that has so many frames to deliver, one a poll. */
function busy(frames: number): Device & { polls: number } {
  return {
    name: 'busy',
    kind: 'test',
    port: 0,
    mtuBytes: 1500,
    offload: NO_OFFLOAD,
    polls: 0,
    output: () => {},
    onLost: () => {},
    poll() {
      this.polls++
      return frames-- > 0 ? 1 : 0
    },
    transmit: () => {},
    refusal: () => -1,
    flush: () => {},
    close: () => {},
  }
}

describe('virtual driver', () => {
  it('moves time only while somebody waits', async () => {
    const driver = new VirtualDriver()
    const ran: number[] = []
    const cancel = every(driver.clock, 100, () => ran.push(driver.clock.nowMs))
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(driver.clock.nowMs).toBe(0)
    await sleep(driver, 250)
    expect(driver.clock.nowMs).toBe(250)
    expect(ran).toEqual([100, 200])
    cancel()
    expect(driver.pending).toBe(0)
  })

  it('is waited for by nobody whose wait could not begin', async () => {
    const driver = new VirtualDriver()
    const cancel = every(driver.clock, 100, () => {})
    const wait = driver.until(() => {
      throw new Error('no way')
    })
    await expect(wait).rejects.toThrow('no way')
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(driver.clock.nowMs).toBe(0)
    cancel()
  })

  it('lets callers go on at the instant when their wait ended', async () => {
    const driver = new VirtualDriver()
    const log: string[] = []
    const step = async (name: string, ...delays: number[]) => {
      for (const ms of delays) {
        await sleep(driver, ms)
        // Several turns of the microtask queue, as real code has.
        await Promise.resolve().then(() => {})
        log.push(`${name} at ${driver.clock.nowMs}`)
      }
    }
    await Promise.all([step('a', 10, 10, 10), step('b', 15, 5), step('c', 30)])
    expect(log).toEqual(['a at 10', 'b at 15', 'a at 20', 'b at 20', 'c at 30', 'a at 30'])
  })

  it('polls a device until it is silent, and not after it was removed', async () => {
    const driver = new VirtualDriver()
    const device = busy(5)
    driver.add(device)
    await sleep(driver, 1)
    expect(device.polls).toBeGreaterThan(5)
    driver.remove(device)
    const { polls } = device
    await sleep(driver, 1)
    expect(device.polls).toBe(polls)
  })

  it('says so when nothing could end a wait, or traffic or timers never end', async () => {
    const driver = new VirtualDriver()
    const never = driver.until(() => undefined)
    await expect(never).rejects.toThrow('nothing is left that could end this wait')
    const again = () => void driver.clock.after(0, again)
    again()
    await expect(sleep(driver, 1)).rejects.toThrow('timers at 0 ms never end')
    const endless = new VirtualDriver()
    endless.add(busy(Number.POSITIVE_INFINITY))
    expect(() => endless.pass(1)).toThrow('traffic at 0 ms never ends')
  })

  it('rejects what waits when it is closed, and takes its timers back', async () => {
    const driver = new VirtualDriver()
    const waiting = expect(sleep(driver, 1000)).rejects.toThrow('closed while this waited')
    driver.close()
    await waiting
    expect(driver.pending).toBe(0)
  })

  it('has a grain, so that no timer waits for a rounding error', () => {
    const { clock } = new VirtualDriver()
    clock.jump(111_479.22330376366)
    const dueMs = clock.nowMs + 0.1 + 0.2
    const seen: number[] = []
    const wait = (): void => {
      seen.push(clock.nowMs)
      if (clock.nowMs < dueMs) clock.after(dueMs - clock.nowMs, wait)
    }
    wait()
    for (let steps = 0; steps < 5; steps++) clock.step(Number.POSITIVE_INFINITY)
    expect(seen.length).toBe(2)
    expect(seen[1]! - dueMs).toBeLessThan(0.001)
  })
})

describe('system driver', () => {
  it('polls when it is woken, and until there is silence', async () => {
    const driver = new SystemDriver()
    const device = busy(5)
    driver.add(device)
    await expect.poll(() => device.polls).toBe(6)
    await sleep(driver, 20)
    expect(device.polls).toBe(6)
    driver.wake()
    await expect.poll(() => device.polls).toBe(7)
    await sleep(driver, 20)
    expect(device.polls).toBe(7)
    driver.close()
    driver.wake()
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(device.polls).toBe(7)
    expect(driver.pending).toBe(0)
  })
})
