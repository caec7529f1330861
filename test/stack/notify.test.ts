import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { addressOf, check, close, recv, socket, syscall6 } from '../../stack/native/libc.ts'
import { sendUnixDatagram, unixName } from '../../stack/native/notify.ts'

const BIND = 49
const AF_UNIX = 1
const SOCK_DGRAM = 2
const MSG_DONTWAIT = 0x40

/** What arrives at a socket of that name while `work` runs. */
function heard(path: string, work: () => void): string {
  const fd = check(socket(AF_UNIX, SOCK_DGRAM, 0), 'socket')
  const name = unixName(path)
  const data = new Uint8Array(256)
  try {
    check(syscall6(BIND, fd, addressOf(name), name.length, 0, 0), 'bind')
    work()
    return Buffer.from(data.subarray(0, recv(fd, data, data.length, MSG_DONTWAIT))).toString()
  } finally {
    close(fd)
    if (path.startsWith('/')) rmSync(path, { force: true })
  }
}

describe('a datagram to the service manager', () => {
  const path = join(tmpdir(), `tapline-notify-${process.pid}.sock`)

  it.each([path, `@tapline-notify-${process.pid}`])('reaches %s', (to) => {
    expect(heard(to, () => sendUnixDatagram(to, 'READY=1'))).toBe('READY=1')
  })

  it('fails in words', () => {
    expect(() => sendUnixDatagram(path, 'READY=1')).toThrow(`connect to ${path}: ENOENT`)
    expect(() => sendUnixDatagram(`/${'x'.repeat(107)}`, '')).toThrow('too long a path')
    expect(unixName(`/${'x'.repeat(106)}`)).toHaveLength(2 + 108)
  })
})
