/** Gossip as a daemon runs it, on a socket of the loopback: what an apply changes, and what not. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { parseConfig } from '../../services/config/parse.ts'
import { formatKey } from '../../services/gossip/keyring.ts'
import { GossipControl } from '../../services/gossip_control.ts'
import type { Log } from '../../services/log.ts'
import { SystemClock } from '../../stack/clock.ts'
import { Random } from '../../stack/random.ts'
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

  const apply = (timeout = '60s'): Promise<void> => {
    const bind = `"127.0.0.1:${PORT}"`
    const gossip = `{ bind: ${bind}, keys_file: keys.b64, endpoint_timeout: ${timeout} }`
    const underlay = '{ address: 127.0.0.1 }'
    const text = `name: t\nnode: { name: a, underlay: ${underlay}, gossip: ${gossip} }`
    return control.apply(parseConfig(text, 'f.yaml').config?.node)
  }

  const keys = (): string[] => control.gossip.serf.keyring!.keys.map(formatKey)

  afterEach(async () => {
    await control.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('reads its file of keys with each apply, and stays in the cluster', async () => {
    const { overlays } = new Rig().controller.node.context
    const clock = new SystemClock()
    const file = join(folder, 'f.yaml')
    control = new GossipControl({ clock, random: new Random(1), log, overlays, file })
    writeKeys(first)
    await apply()
    const { gossip } = control
    expect(keys()).toEqual([first])
    // A key that is added decrypts; moved to the front, it encrypts; taken away, it is gone.
    for (const rotation of [[first, second], [second, first], [second]]) {
      writeKeys(...rotation)
      await apply()
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
    await apply('5m')
    expect(keys()).toEqual([third])
    expect(told.filter((message) => message.includes('chmod 600'))).toHaveLength(1)
    expect(told.filter((message) => message === 'gossip has other keys')).toHaveLength(4)
    expect(control.gossip).toBe(gossip)
  })
})
