/**
 * What we rely on from the kernel, as programs: if one of these fails on a new kernel, the
 * assumption in the named file is wrong there, not the code.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import type { Channel } from '../../stack/engine.ts'
import { close, Errno, errno, read } from '../../stack/native/libc.ts'
import { Netlink } from '../../stack/native/netlink.ts'
import {
  addNetns,
  deleteNetns,
  inNetns,
  inScratchNetns,
  Netns,
  netnsExists,
  netnsPath,
} from '../../stack/native/netns.ts'
import { probeOffload } from '../../stack/native/probe.ts'
import { mapSlab } from '../../stack/native/slab.ts'
import { openTap } from '../../stack/native/tun.ts'
import { UringEngine } from '../../stack/native/uring_engine.ts'
import { Pool, poolBytes } from '../../stack/packet.ts'

const NETNS = `tlplat${process.pid}`

/** True if both name the same namespace: by the inode of what is mounted. */
function sameNetns(a: string, b: string): boolean {
  return statSync(netnsPath(a)).ino === statSync(netnsPath(b)).ino
}

function ip(...args: string[]): string {
  return execFileSync('ip', ['-n', NETNS, ...args]).toString()
}

/** A TAP that was opened elsewhere and moved: see tun.ts. */
async function tapIn(netns: string): Promise<number> {
  const target = new Netns(netns)
  const { fd, netlink } = inScratchNetns(() => {
    return { fd: openTap('born', false).fd, netlink: new Netlink() }
  })
  const { index } = netlink.link('born')!
  await netlink.moveLink(index, { netnsFd: target.fd, name: 'eth0' })
  netlink.close()
  target.close()
  return fd
}

afterEach(() => deleteNetns(NETNS))

describe('namespaces (stack/native/netns.ts)', () => {
  it('are made as `ip netns` makes them, and leave this thread where it was', () => {
    const before = readFileSync('/proc/thread-self/mountinfo').toString().length
    expect(before).toBeGreaterThan(0)
    addNetns(NETNS)
    expect(execFileSync('ip', ['netns', 'list']).toString()).toContain(NETNS)
    expect(sameNetns('/proc/thread-self/ns/net', `/proc/${process.pid}/ns/net`)).toBe(true)
    expect(sameNetns(NETNS, '/proc/thread-self/ns/net')).toBe(false)
    inNetns(NETNS, () => expect(sameNetns(NETNS, '/proc/thread-self/ns/net')).toBe(true))
    expect(() => addNetns(NETNS)).toThrow(/exists already/)
    deleteNetns(NETNS)
    deleteNetns(NETNS)
    expect(netnsExists(NETNS)).toBe(false)
  })

  it('come back to the old one when the work throws', () => {
    expect(() =>
      inScratchNetns(() => {
        throw new Error('inside')
      }),
    ).toThrow('inside')
    expect(sameNetns('/proc/thread-self/ns/net', `/proc/${process.pid}/ns/net`)).toBe(true)
  })
})

describe('rtnetlink (stack/native/netlink.ts)', () => {
  it('configures a link, its addresses and routes', () => {
    addNetns(NETNS)
    const { fd } = inNetns(NETNS, () => {
      const handle = openTap('eth0', true)
      const netlink = new Netlink()
      expect(netlink.link('nothing')).toBeUndefined()
      const { index } = netlink.link('eth0')!
      const mac = Uint8Array.of(2, 0, 0, 0, 0, 0x42)
      netlink.setLink(index, { mac, mtuBytes: 1400, txQueueLen: 777 })
      netlink.setLink(index, { up: true })
      netlink.addAddress(index, parsePrefix('10.9.0.2/24'))
      netlink.addAddress(index, parsePrefix('fd00:9::2/64'))
      const via = parseAddress('10.9.0.1')
      netlink.addRoute(index, { destination: parsePrefix('0.0.0.0/0'), via })
      netlink.addRoute(index, {
        destination: parsePrefix('::/0'),
        via: parseAddress('fd00:9::1'),
      })
      const link = netlink.link('eth0')!
      expect(link).toMatchObject({ mtuBytes: 1400, up: true, name: 'eth0', mac })
      expect(() => netlink.setLink(9999, { up: true })).toThrow(/ENODEV/)
      netlink.close()
      return handle
    })
    expect(ip('link', 'show', 'eth0')).toMatch(/mtu 1400 .* qlen 777[\s\S]*02:00:00:00:00:42/)
    expect(ip('addr', 'show', 'eth0')).toContain('inet 10.9.0.2/24')
    // Not tentative: usable at once.
    expect(ip('-6', 'addr', 'show', 'dev', 'eth0', 'scope', 'global')).toMatch(
      /inet6 fd00:9::2\/64 scope global (nodad)?\s*\n/,
    )
    expect(ip('route')).toContain('default via 10.9.0.1 dev eth0')
    expect(ip('-6', 'route')).toContain('default via fd00:9::1 dev eth0')
    inNetns(NETNS, () => {
      const netlink = new Netlink()
      netlink.deleteLink(netlink.link('eth0')!.index)
      expect(netlink.link('eth0')).toBeUndefined()
      netlink.close()
    })
    close(fd)
  })
})

describe('TAPs (stack/native/tun.ts)', () => {
  it('take TCP and UDP super-frames on Linux 6.2 and later', () => {
    const [major, minor] = readFileSync('/proc/sys/kernel/osrelease').toString().split('.')
    const expected = Number(major) * 1000 + Number(minor) >= 6002
    expect(probeOffload()).toEqual({ csum: true, tso: true, uso: expected })
  })

  it('die with their namespace: reads say EBADFD', async () => {
    addNetns(NETNS)
    const fd = await tapIn(NETNS)
    const buffer = mapSlab(4096)
    expect(read(fd, buffer.address, 4096)).toBe(-1)
    expect([Errno.Again, Errno.Io]).toContain(errno())
    deleteNetns(NETNS)
    await expect
      .poll(() => (read(fd, buffer.address, 4096) < 0 ? errno() : 0), { timeout: 5000 })
      .toBe(Errno.BadFd)
    close(fd)
  })

  it('end a multishot read when their namespace goes, and the engine reports it once', async () => {
    addNetns(NETNS)
    const fd = await tapIn(NETNS)
    const counts = { smallCount: 512, largeCount: 64 }
    const pool = new Pool({ ...counts, memory: mapSlab(poolBytes(counts)), checked: true })
    const engine = new UringEngine(pool)
    const lost: number[] = []
    const channel: Channel = {
      fd,
      large: false,
      received: (packet) => pool.free(packet),
      refused: (packet) => pool.free(packet),
      starved: () => {},
      lost: (code) => lost.push(code),
    }
    const id = engine.add(channel)
    deleteNetns(NETNS)
    await expect
      .poll(
        () => {
          engine.poll(64)
          return lost
        },
        { timeout: 5000 },
      )
      .toEqual([-Errno.BadFd])
    engine.remove(id)
    close(fd)
    engine.close()
    expect(pool.leaks()).toEqual([])
  })

  it('are not left behind in /dev or in this namespace', () => {
    expect(existsSync('/sys/class/net/eth0-tapline')).toBe(false)
    expect(execFileSync('ip', ['-br', 'link']).toString()).not.toMatch(/probe0/)
  })
})
