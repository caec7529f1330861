/** The life of a daemon, in memory: one a socket, reloads, and closing at any moment. */
import { existsSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { ApplyAnswer, DaemonInfo } from '../../services/api_types.ts'
import type { Listing } from '../../services/views.ts'
import { BIGGER, DaemonLab, eventually, SHOP } from './daemon_lab.ts'

/** So many sandboxes that applying them takes many turns of the event loop. */
const CROWD = 60
const CROWDED: string =
  SHOP + Array.from({ length: CROWD }, (_, i) => `  s${i}: { networks: [front] }\n`).join('')

async function names(lab: DaemonLab): Promise<string[]> {
  const { sandboxes } = await lab.client.get<Listing>('ls')
  return sandboxes.map(({ name }) => name)
}

describe('a daemon', () => {
  it('refuses to start where one lives, makes nothing, and that one goes on', async () => {
    const lab = new DaemonLab()
    await lab.daemon.start()
    const rival = new DaemonLab(SHOP, lab.socketPath)
    await expect(rival.daemon.start()).rejects.toMatchObject({ code: 'exists' })
    expect(rival.daemon.controller.ls().sandboxes).toEqual([])
    expect(await rival.close()).toEqual([])
    expect(await names(lab)).toEqual(['web1', 'web2', 'db'])
    expect(await lab.close()).toEqual([])
  })

  it('removes its socket, and another can start there', async () => {
    const lab = new DaemonLab()
    await lab.daemon.start()
    await lab.daemon.close()
    expect(existsSync(lab.socketPath)).toBe(false)
    const next = new DaemonLab(SHOP, lab.socketPath)
    await next.daemon.start()
    expect(await names(next)).toHaveLength(3)
    expect(await next.close()).toEqual([])
    expect(await lab.close()).toEqual([])
  })

  it('applies its file again when told, and only what is new', async () => {
    const lab = new DaemonLab()
    await lab.daemon.start()
    const output = lab.daemon.controller.node.edges()[0]!.device.output
    writeFileSync(lab.file, BIGGER)
    await lab.daemon.reload()
    expect(await names(lab)).toEqual(['web1', 'web2', 'db', 'web3'])
    expect(lab.daemon.controller.node.edges()[0]!.device.output).toBe(output)
    expect(await lab.close()).toEqual([])
  })

  it.each([
    ['faults', `${SHOP}oops: 1\n`],
    ['another name', SHOP.replace('shop', 'other')],
    ['no subnet left', SHOP.replace('10.1.0.0/24', '10.1.0.0/30').replace('.11', '.2')],
  ])('stays as it is over a file with %s, and says so', async (_, text) => {
    const lab = new DaemonLab()
    await lab.daemon.start()
    writeFileSync(lab.file, text)
    await lab.daemon.reload()
    expect(lab.logged.at(-1)).toBe('the file was not applied again')
    expect(await names(lab)).toEqual(['web1', 'web2', 'db'])
    expect(await lab.close()).toEqual([])
  })

  it('is open to questions while it starts', async () => {
    const lab = new DaemonLab(CROWDED)
    const started = lab.daemon.start()
    await eventually(() => existsSync(lab.socketPath))
    const info = await lab.client.get<DaemonInfo>('daemon')
    expect(['starting', 'ready']).toContain(info.state)
    await started
    expect(await names(lab)).toHaveLength(CROWD + 3)
    expect(await lab.close()).toEqual([])
  })

  it.each([0, 1, 3, 10, 30])('can be closed %d turns into its start', async (turns) => {
    const lab = new DaemonLab(CROWDED)
    const started = lab.daemon.start()
    started.catch(() => undefined)
    for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve))
    await lab.daemon.close()
    await expect(started).rejects.toMatchObject({ code: 'daemon' })
    expect(existsSync(lab.socketPath)).toBe(false)
    expect(lab.daemon.controller.ls()).toMatchObject({ networks: [], sandboxes: [] })
    expect(lab.driver.pending).toBe(0)
    expect(await lab.close()).toEqual([])
  })

  it('applies one configuration after the other, and bounds how many wait', async () => {
    const lab = new DaemonLab()
    await lab.daemon.start()
    const answers = await Promise.allSettled(
      Array.from({ length: 40 }, (_, i) =>
        lab.client.post<ApplyAnswer>('apply', { file: 'f', text: i % 2 === 0 ? BIGGER : SHOP }),
      ),
    )
    const failed = answers.filter(({ status }) => status === 'rejected')
    expect(failed.length).toBeLessThan(40)
    for (const each of failed) {
      expect(String((each as PromiseRejectedResult).reason)).toContain('already wait')
    }
    expect([3, 4]).toContain((await names(lab)).length)
    expect(await lab.close()).toEqual([])
  })

  it('hangs up on captures and followers when it closes', async () => {
    const lab = new DaemonLab()
    await lab.daemon.start()
    const capture = await lab.client.stream('capture')
    const events = await lab.client.stream('events')
    const ended = [capture, events].map(
      ({ body }) => new Promise((resolve) => body.on('end', resolve).resume()),
    )
    await lab.daemon.close()
    await Promise.all(ended)
    expect(await lab.close()).toEqual([])
  })
})
