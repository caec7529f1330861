/**
 * What must not end the daemon, nor the service of those who have no part in it. Each engine has a
 * test file of its own, so that both are tried at once.
 */
import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Netlink } from '../../stack/native/netlink.ts'
import { deleteNetns, inNetns } from '../../stack/native/netns.ts'
import { Random } from '../../stack/random.ts'
import { Lab } from './lab.ts'
import { PacketSocket } from './packet_socket.ts'

/** The whole minute in CI; enough to notice a fault elsewhere. */
const FUZZ_SECONDS = Number(process.env['FUZZ_SECONDS'] ?? (process.env['CI'] === 'true' ? 60 : 10))
const FUZZ_MS = FUZZ_SECONDS * 1000

/** Two networks, three sandboxes that get on, and one that does not. */
export function survivors(lab: Lab, extra = ''): string {
  return `name: ${lab.prefix}
networks:
  front:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }
  back: { ipam: { config: [ { subnet: 10.2.0.0/24 } ] } }
sandboxes:
  a: { netns: ${lab.ns('a')}, networks: { front: { ipv4_address: 10.1.0.11 } } }
  b: { netns: ${lab.ns('b')}, networks: { front: { ipv4_address: 10.1.0.12 } } }
  c: { netns: ${lab.ns('c')}, networks: { back: { ipv4_address: 10.2.0.13 } } }
  evil: { netns: ${lab.ns('evil')}, networks: { front: { ipv4_address: 10.1.0.66 } } }
${extra}`
}

/** A raw socket on eth0 of a sandbox. */
function rawSocket(lab: Lab, sandbox: string): PacketSocket {
  return inNetns(lab.ns(sandbox), () => {
    const netlink = new Netlink()
    const { index } = netlink.link('eth0')!
    netlink.close()
    return new PacketSocket(index)
  })
}

interface DropRow {
  readonly device: string
  readonly reason: string
  readonly count: number
}

/** Define the suite for one engine. Call at the top level of a test file. */
export function survivalSuite(engine: 'io_uring' | 'poll'): void {
  describe(`survival with ${engine}`, () => {
    const lab = new Lab()

    beforeAll(async () => {
      await lab.up(survivors(lab), ['--engine', engine])
    })

    afterAll(async () => {
      const { code } = await lab.stop()
      expect(code).toBe(0)
      expect(lab.leftovers()).toEqual([])
      await lab.close()
    })

    beforeEach(async () => {
      expect(await lab.ping('a', '10.1.0.12')).toBe(3)
      expect(await lab.ping('a', '10.2.0.13')).toBe(3)
    })

    it('a flood of random source addresses', async () => {
      const socket = rawSocket(lab, 'evil')
      const random = new Random(7)
      const frame = new Uint8Array(60)
      frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0, 0x88, 0xb5])
      const ping = lab.ping('a', '10.1.0.12', '-c20', '-i0.1')
      for (let i = 0; i < 200_000; i++) {
        new DataView(frame.buffer).setInt32(8, random.bits())
        trySend(socket, frame)
        if (i % 2000 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      socket.close()
      expect(await ping).toBe(20)
      const fdb = await lab.json<unknown[]>('fdb', 'front')
      expect(fdb.length).toBeLessThan(100)
      const drops = await lab.json<DropRow[]>('drops')
      const spoofed = drops.find(({ reason, device }) => {
        return reason === 'mac-spoofed' && device.startsWith('evil')
      })
      expect(spoofed?.count).toBeGreaterThan(1000)
    })

    it('an interface that is set down and up', async () => {
      await lab.exec('b', 'ip', 'link', 'set', 'eth0', 'down')
      expect(await lab.ping('a', '10.1.0.12', '-c1', '-W1')).toBe(0)
      const trace = ['trace', '--from', 'a', '--to', '10.1.0.12', '--expect'] as const
      expect((await lab.cli(...trace, 'dropped')).stdout).toMatch(/dropped for device-down$/m)
      await lab.exec('b', 'ip', 'link', 'set', 'eth0', 'up')
      expect((await lab.cli(...trace, 'transmitted')).code).toBe(0)
      expect(await lab.ping('a', '10.1.0.12')).toBe(3)
    })

    it('a namespace that is deleted under it, and is joined again by the next apply', async () => {
      deleteNetns(lab.ns('c'))
      await expect
        .poll(async () => JSON.stringify(await lab.json('ls')), { timeout: 10_000 })
        .toContain('lost')
      expect(lab.log).toMatch(/lost c\/eth0: the interface or its namespace is gone/)
      expect(await lab.ping('a', '10.1.0.12')).toBe(3)
      const { code, stderr } = await lab.cli('apply', lab.file)
      expect(stderr).toBe('')
      expect(code).toBe(0)
      expect(await lab.ping('a', '10.2.0.13')).toBe(3)
    })

    it('a sandbox that leaves and joins', async () => {
      lab.write(survivors(lab).replace(/ {2}b: .*\n/, ''))
      expect((await lab.cli('apply', lab.file)).code).toBe(0)
      expect(await lab.ping('a', '10.1.0.12', '-c1', '-W1')).toBe(0)
      lab.write(survivors(lab))
      expect((await lab.cli('apply', lab.file)).code).toBe(0)
      expect(await lab.ping('a', '10.1.0.12')).toBe(3)
    })

    it('a bad file: changes nothing, exit code 2, line and column', async () => {
      const before = JSON.stringify(await lab.json('inspect'))
      writeFileSync(lab.file, survivors(lab, '  x: { networks: [nowhere] }\n'))
      const { code, stderr } = await lab.cli('apply', lab.file)
      expect(code).toBe(2)
      expect(stderr).toMatch(/lab\.yaml:\d+:\d+: .*nowhere/)
      expect(JSON.stringify(await lab.json('inspect'))).toBe(before)
      lab.write(survivors(lab))
    })

    it(
      `${FUZZ_MS / 1000} s of mutated frames at full speed`,
      async () => {
        const socket = rawSocket(lab, 'evil')
        const random = new Random(11)
        const corpus = await capture(lab)
        const before = lab.usage()
        const end = performance.now() + FUZZ_MS
        let sent = 0
        while (performance.now() < end) {
          for (let i = 0; i < 500; i++) {
            const frame = corpus[random.below(corpus.length)]!.slice()
            const flips = random.below(6)
            for (let n = 0; n < flips; n++)
              frame[12 + random.below(frame.length - 12)] = random.bits()
            const cut = random.chance(20) ? 14 + random.below(frame.length - 13) : frame.length
            if (trySend(socket, frame.subarray(0, cut))) sent++
          }
          await new Promise((resolve) => setImmediate(resolve))
        }
        socket.close()
        expect(sent).toBeGreaterThan(FUZZ_MS)
        expect(await lab.ping('a', '10.1.0.12')).toBe(3)
        expect(await lab.ping('a', '10.2.0.13')).toBe(3)
        expect(lab.usage().descriptors).toBeLessThanOrEqual(before.descriptors + 2)
      },
      FUZZ_MS + 60_000,
    )
  })
}

/** Real frames of a sandbox, to be mutated: ARP, ND, ICMP, UDP, TCP. */
async function capture(lab: Lab): Promise<Uint8Array[]> {
  const { stdout } = await lab.exec('evil', 'cat', '/sys/class/net/eth0/address')
  const mac = stdout
    .trim()
    .split(':')
    .map((pair) => Number.parseInt(pair, 16))
  const gateway = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
  const neigh = await lab.exec('evil', 'sh', '-c', 'ping -c1 10.1.0.1 >/dev/null; ip neigh')
  const found = /10\.1\.0\.1 .*lladdr (\S+)/.exec(neigh.stdout)?.[1]
  const to = found?.split(':').map((pair) => Number.parseInt(pair, 16)) ?? gateway
  const ip = (protocol: number, destination: number[], payload: number[]): number[] => {
    const total = 20 + payload.length
    const header = [0x45, 0, total >> 8, total & 0xff, 0, 1, 0, 0, 64, protocol, 0, 0]
    header.push(10, 1, 0, 66, ...destination)
    let sum = 0
    for (let i = 0; i < 20; i += 2) sum += (header[i]! << 8) | header[i + 1]!
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
    header[10] = (~sum >> 8) & 0xff
    header[11] = ~sum & 0xff
    return [...header, ...payload]
  }
  const frame = (type: number, payload: number[], destination = to): Uint8Array =>
    Uint8Array.from([...destination, ...mac, type >> 8, type & 0xff, ...payload])
  const six = [0x60, 0, 0, 0, 0, 24, 58, 255, 0xfd, 0, 0, 1, ...Array(11).fill(0), 0x66]
  const group = [0xff, 2, ...Array(9).fill(0), 1, 0xff, 0, 0, 0x11]
  const arp = [0, 1, 8, 0, 6, 4, 0, 1, ...mac, 10, 1, 0, 66, 0, 0, 0, 0, 0, 0, 10, 1, 0, 1]
  const data = Array.from({ length: 100 }, (_, i) => i)
  return [
    frame(0x0806, arp, gateway),
    frame(0x0800, ip(1, [10, 1, 0, 1], [8, 0, 0xf7, 0xff, 0, 0, 0, 0])),
    frame(0x0800, ip(1, [10, 2, 0, 13], [8, 0, 0xf7, 0xff, 0, 0, 0, 0, ...data])),
    frame(0x0800, ip(17, [10, 2, 0, 13], [0, 9, 0, 9, 0, 108, 0, 0, ...data])),
    frame(
      0x0800,
      ip(6, [10, 1, 0, 1], [0, 9, 0, 80, ...Array(8).fill(0), 0x50, 2, 1, 0, 0, 0, 0, 0]),
    ),
    frame(0x86dd, [
      ...six,
      ...group,
      135,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0xfd,
      0,
      0,
      1,
      ...Array(11).fill(0),
      1,
    ]),
    frame(0x8100, [0, 5, 8, 0, ...ip(17, [10, 1, 0, 12], [0, 9, 0, 9, 0, 8, 0, 0])]),
    frame(0x88b5, data),
  ]
}

/** False if the queue of the interface is full. */
function trySend(socket: PacketSocket, frame: Uint8Array): boolean {
  try {
    socket.send(frame)
    return true
  } catch {
    return false
  }
}
