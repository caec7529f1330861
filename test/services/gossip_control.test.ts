/** Gossip as a daemon runs it, on a socket of the loopback: what an apply changes, and what not. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { NodeConfig } from '../../services/config/overlay_model.ts'
import { formatKey } from '../../services/gossip/keyring.ts'
import { GossipControl } from '../../services/gossip_control.ts'
import type { Log } from '../../services/log.ts'
import { SystemClock } from '../../stack/clock.ts'
import { Random } from '../../stack/random.ts'
import { config } from './generate.ts'
import { Rig } from './rig.ts'

const PORT = 27_946
const [first, second, third] = [1, 2, 3].map((fill) => Buffer.alloc(32, fill).toString('base64'))

describe('gossip beside a controller', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gossip-'))
  const keysFile = join(folder, 'keys.b64')
  const told: string[] = []
  const log: Log = {
    info: (_facts, message) => void told.push(message),
    warn: (_facts, message) => void told.push(message),
    error: (_facts, message) => void told.push(message),
  }
  let control: GossipControl

  const writeKeys = (...keys: (string | undefined)[]): void => {
    writeFileSync(keysFile, `# keys\n${keys.join('\n')}\n`, { mode: 0o600 })
  }

  const apply = async (timeout = '60s'): Promise<string[]> => {
    return await steps(`keys_file: keys.b64, endpoint_timeout: ${timeout}`)
  }

  const nodeOf = (gossip: string, n = 1): NodeConfig => {
    const bind = `"127.0.0.${n}:${PORT}"`
    const underlay = `{ address: 127.0.0.${n} }`
    const node = `{ name: n${n}, underlay: ${underlay}, gossip: { bind: ${bind}, ${gossip} } }`
    return config(`name: t\nnode: ${node}`).node!
  }

  /** Apply it; what was said before that would be done is what was done. */
  const steps = async (gossip: string, it = control, n = 1): Promise<string[]> => {
    const node = nodeOf(gossip, n)
    const said = it.preview(node)
    const done = await it.apply(node)
    expect(done).toEqual(said)
    expect(it.preview(node)).toEqual([])
    return done.map(({ action, subject, detail }) => `${action} ${subject} ${detail}`)
  }

  const makeControl = (): GossipControl => {
    const { overlays } = new Rig().controller.node.context
    const file = join(folder, 'f.yaml')
    return new GossipControl({
      clock: new SystemClock(),
      random: new Random(1),
      log,
      overlays,
      file,
    })
  }

  const keys = (): string[] => control.gossip.serf.keyring!.keys.map(formatKey)

  const members = (it: GossipControl): string[] =>
    it.gossip
      .view()
      .members.filter(({ state }) => state === 'alive')
      .map(({ name }) => name)

  const others: GossipControl[] = []

  beforeEach(() => {
    control = makeControl()
    told.length = 0
  })

  afterEach(async () => {
    for (const each of [control, ...others.splice(0)]) await each.close()
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('reads its file of keys with each apply, and stays in the cluster', async () => {
    writeKeys(first)
    expect(await apply()).toEqual([`start-gossip n1 127.0.0.1 port ${PORT}`])
    const { gossip } = control
    expect(keys()).toEqual([first])
    // A key that is added decrypts; moved to the front, it encrypts; taken away, it is gone.
    for (const rotation of [[first, second], [second, first], [second]]) {
      writeKeys(...rotation)
      expect(await apply()).toEqual(['update-gossip n1 keys'])
      expect(keys()).toEqual(rotation)
      expect(formatKey(gossip.serf.keyring!.primary)).toBe(rotation[0])
    }
    // A file with a fault is refused whole, with the line and without what is on it.
    for (const [bad, fault] of [
      [[third, 'not a key'], 'line 3: expected 16, 24 or 32 octets in base64'],
      [[third, third], 'line 3: this key is listed already'],
      [[], 'there is no key'],
    ] as const) {
      writeKeys(...bad)
      await expect(apply()).rejects.toThrow(`keys in ${keysFile}: ${fault}`)
      expect(keys()).toEqual([second])
    }
    writeFileSync(keysFile, 'x'.repeat(70_000))
    await expect(apply()).rejects.toThrow('longer than 65536 octets')
    rmSync(keysFile)
    writeFileSync(keysFile, `${third}\n`, { mode: 0o644 })
    expect(await apply('5m')).toEqual(['update-gossip n1 endpoint_timeout, keys'])
    expect(keys()).toEqual([third])
    expect(told.filter((message) => message.includes('chmod 600'))).toHaveLength(1)
    expect(told.filter((message) => message === 'gossip has other keys')).toHaveLength(4)
    expect(control.gossip).toBe(gossip)
  })

  it('joins who is new in its list without leaving, and says what it restarts for', async () => {
    const other = makeControl()
    others.push(other)
    await steps('join: []', other, 2)
    await steps('join: []')
    const { gossip } = control
    const join = `join: [ "127.0.0.2:${PORT}" ]`
    expect(await steps(join)).toEqual(['update-gossip n1 join'])
    for (const it of [control, other]) {
      await vi.waitFor(() => expect(members(it)).toEqual(['n1', 'n2']), 5000)
    }
    expect(await steps('join: []')).toEqual(['update-gossip n1 join'])
    expect(members(control)).toEqual(['n1', 'n2'])
    expect(control.gossip).toBe(gossip)
    writeKeys(first)
    const restart = `restart-gossip n1 127.0.0.1 port ${PORT}`
    expect(await steps('keys_file: keys.b64')).toEqual([restart])
    expect(await steps('label: shop')).toEqual([restart])
    expect(control.preview(undefined)).toEqual([
      { action: 'stop-gossip', subject: 'n1', detail: '' },
    ])
    await control.apply(undefined)
    expect(control.preview(undefined)).toEqual([])
  })

  it('is in a cluster with nodes of its label only, and says what may be wrong', async () => {
    const other = makeControl()
    others.push(other)
    const join = `join: [ "127.0.0.2:${PORT}" ]`
    await steps('label: shop', other, 2)
    await steps(join)
    const refused = 'messages from 127.0.0.1 cannot be opened: do the keys and the label match?'
    await vi.waitFor(() => expect(told).toContain(refused), 5000)
    const hint = 'could not join: closed without an answer: do the keys and the label match?'
    await vi.waitFor(() => expect(told).toContain(hint), 5000)
    await vi.waitFor(() => expect(told.filter((line) => line === hint)).toHaveLength(2), 8000)
    expect(
      told.filter((line) => line === refused),
      'told once',
    ).toHaveLength(1)
    expect(members(control)).toEqual(['n1'])
    await steps(`${join}, label: shop`)
    await vi.waitFor(() => expect(members(other)).toEqual(['n1', 'n2']), 5000)
  }, 20_000)
})
