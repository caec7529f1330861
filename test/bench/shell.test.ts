import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { atExit, cleanUp } from '../../bench/cleanup.ts'
import { background, hasTool, run, runSync, until } from '../../bench/shell.ts'

const node = (script: string): string[] => [process.execPath, '-e', script]

describe('run', () => {
  it('gives the output, or one line about the failure', async () => {
    expect(await run(node('process.stdout.write("out")'))).toBe('out')
    const fails = node('console.error("a\\n b"); process.exitCode = 3')
    await expect(run(fails)).rejects.toThrow(/ended with 3: a; b$/)
    expect(() => runSync(fails)).toThrow(/ended with 3: a; b$/)
    await expect(run(['no-such-program'])).rejects.toThrow('ENOENT')
    expect(() => runSync(['no-such-program'])).toThrow('ENOENT')
  })

  it('ends what takes too long', async () => {
    await expect(run(node('setInterval(() => {}, 1000)'), 200)).rejects.toThrow('SIGKILL')
  })

  it('knows what can be started', () => {
    expect(hasTool('sh')).toBe(true)
    expect(hasTool('no-such-program')).toBe(false)
  })
})

describe('background', () => {
  it('waits for the line, and stops politely', async () => {
    const polite = 'process.on("SIGTERM", () => process.exit(7)); setInterval(() => {}, 1000);'
    const script = `${polite} console.log("hello"); console.log("ready now")`
    const child = await background(node(script), { ready: /^ready .*\n/m })
    expect(child.readyLine).toBe('ready now')
    expect(child.readyMs).toBeGreaterThan(0)
    expect(existsSync(`/proc/${child.pid}`)).toBe(true)
    const { exitCode, tookMs } = await child.stop()
    expect(exitCode).toBe(7)
    expect(tookMs).toBeLessThan(5000)
    expect(existsSync(`/proc/${child.pid}`)).toBe(false)
  })

  it('tells why a program is not ready', async () => {
    const ends = background(node('console.log("no"); process.exitCode = 4'), { ready: /yes/ })
    await expect(ends).rejects.toThrow('ended with 4: no')
    const silent = { ready: /yes/, limitMs: 300 }
    await expect(background(node('setInterval(() => {}, 1000)'), silent)).rejects.toThrow(
      'was not ready after 300 ms',
    )
    await expect(background(['no-such-program'])).rejects.toThrow('ENOENT')
  })

  it('is stopped by the clean-up, which waits for its end', async () => {
    const child = await background(node('setInterval(() => {}, 1000)'))
    cleanUp()
    await until('its end', () => !existsSync(`/proc/${child.pid}`))
  })
})

describe('clean-up', () => {
  it('undoes all that is left in reverse order, once', () => {
    const order: string[] = []
    atExit(() => order.push('first'))
    const forget = atExit(() => order.push('forgotten'))
    atExit(() => order.push('second'))
    forget()
    forget()
    cleanUp()
    cleanUp()
    expect(order).toEqual(['second', 'first'])
  })
})
