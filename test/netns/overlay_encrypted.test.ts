/**
 * An encrypted overlay between two daemons on a veth pair: what passes, what the wire shows, and
 * keys that are exchanged while a ping runs.
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasTool, type Lab, labIn } from './lab.ts'
import { makeWire } from './wire.ts'

/** In every ping's payload, and so on the wire if that is not encrypted. */
const MARK = '7461706c696e65'

describe.each(['io_uring', 'poll'] as const)('an encrypted overlay, %s', (engine) => {
  const wire = makeWire()
  const labs = wire.names.map(labIn)
  const [one, two] = labs as [Lab, Lab]
  const keys = [randomBytes(32), randomBytes(32)].map((key) => key.toString('base64'))

  const file = (i: number): string => `
name: enc${i}
node:
  name: n${i}
  underlay: { address: 10.200.0.${i}, keys_file: overlay.keys }
  peers: [ 10.200.0.${3 - i} ]
networks:
  back:
    driver: overlay
    driver_opts:
      encrypted: "true"
      com.docker.network.driver.overlay.vxlanid_list: "4097"
    ipam: { config: [ { subnet: 10.2.0.0/24 } ] }
    remote:
      - { vtep: 10.200.0.${3 - i}, mac: "02:00:00:00:00:1${3 - i}", ipv4_address: 10.2.0.1${3 - i} }
  plain:
    driver: overlay
    driver_opts: { com.docker.network.driver.overlay.vxlanid_list: "4098" }
    ipam: { config: [ { subnet: 10.3.0.0/24 } ] }
    remote:
      - { vtep: 10.200.0.${3 - i}, mac: "02:00:00:00:01:1${3 - i}", ipv4_address: 10.3.0.1${3 - i} }
sandboxes:
  app:
    netns: ${labs[i - 1]!.ns('app')}
    networks:
      back: { ipv4_address: 10.2.0.1${i}, mac_address: "02:00:00:00:00:1${i}" }
      plain: { ipv4_address: 10.3.0.1${i}, mac_address: "02:00:00:00:01:1${i}" }
`

  const putKeys = (lab: Lab, list: readonly string[]): void => {
    writeFileSync(join(dirname(lab.file), 'overlay.keys'), `${list.join('\n')}\n`, { mode: 0o600 })
  }

  beforeAll(async () => {
    for (const [i, lab] of labs.entries()) {
      putKeys(lab, [keys[0]!])
      await lab.up(file(i + 1), ['--engine', engine])
    }
  }, 90_000)

  afterAll(async () => {
    for (const lab of labs) await lab.close()
    wire.remove()
  })

  it('passes what it is for, and shows nothing of it', async () => {
    if (!hasTool('tcpdump', 'tcpdump')) return
    const watching = ['-lnxi', 'w0', '-c', '6', 'udp port 4789 and greater 100']
    const there = `--net=/var/run/netns/${wire.names[0]}`
    const heard = one.spawn('app', 'nsenter', there, 'tcpdump', ...watching)
    let seen = ''
    heard.stdout!.on('data', (data: Buffer) => {
      seen += data.toString()
    })
    await new Promise<void>((resolve) => heard.stderr!.once('data', () => resolve()))
    const ended = new Promise<void>((resolve) => heard.once('close', () => resolve()))
    const ping = ['ping', '-c', '3', '-i', '0.2', '-p', MARK, '10.2.0.12']
    expect(await one.exec('app', ...ping)).toMatchObject({ code: 0 })
    await ended
    const octets = seen.replace(/0x[0-9a-f]{4}:/g, '').replace(/\s/g, '')
    expect(octets.length).toBeGreaterThan(600)
    expect(octets).not.toContain(MARK)
  })

  it('leaves checksums of a network in the clear open all the same', async () => {
    if (!hasTool('tcpdump', 'tcpdump')) return
    const there = `--net=/var/run/netns/${wire.names[0]}`
    const open = 'udp port 4789 and udp[9] & 0x20 != 0'
    const heard = one.spawn('app', 'nsenter', there, 'tcpdump', '-lni', 'w0', '-c', '3', open)
    await new Promise<void>((resolve) => heard.stderr!.once('data', () => resolve()))
    const ended = new Promise<boolean>((resolve) => heard.once('close', () => resolve(true)))
    const late = new Promise<boolean>((resolve) => setTimeout(resolve, 10_000, false))
    const say = 'for i in 1 2 3 4 5 6; do echo open > /dev/udp/10.3.0.12/9; sleep 0.2; done'
    expect(await one.exec('app', 'bash', '-c', say)).toMatchObject({ code: 0 })
    expect(await Promise.race([ended, late])).toBe(true)
  })

  it('loses nothing while keys are exchanged', async () => {
    const ping = one.exec('app', 'ping', '-c', '40', '-i', '0.1', '-q', '10.2.0.12')
    for (const list of [keys, [...keys].reverse(), [keys[1]!]]) {
      for (const [i, lab] of labs.entries()) {
        putKeys(lab, list)
        lab.write(file(i + 1))
        expect(await lab.cli('apply', lab.file)).toMatchObject({ code: 0 })
      }
    }
    expect((await ping).stdout).toContain('40 received')
  })

  it('takes nothing from who has another key', async () => {
    putKeys(two, [keys[0]!])
    expect(await two.cli('apply', two.file)).toMatchObject({ code: 0 })
    expect((await one.exec('app', 'ping', '-c', '2', '-W', '1', '10.2.0.12')).code).toBe(1)
    const drops = await two.json<{ reason: string; count: number }[]>('drops')
    // Its key and its epoch are forgotten: which of the two is found first is no matter.
    const refused = drops.filter(({ reason }) => reason.startsWith('seal-'))
    expect(refused.reduce((sum, { count }) => sum + count, 0)).toBeGreaterThanOrEqual(2)
  })
})
