/**
 * What the bridge of Linux 6.1 with VLAN filtering sent for 700 frames: recorded, and held against
 * ours on any machine. One line a frame: the port it came in by, its octets, `>`, and each port
 * and octets that left. Made by test/netns/bridge_differential.test.ts.
 */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FILTERING, ourBridge } from '../netns/bridge_differential/ports.ts'

const PATH = new URL('../vectors/bridge_vlan_kernel.txt', import.meta.url)

test('does with VLANs what the kernel did', () => {
  const net = ourBridge(FILTERING, true)
  const lines = readFileSync(PATH, 'utf8').trimEnd().split('\n')
  for (const [index, line] of lines.entries()) {
    const [port, bytes] = line.split(' ', 2) as [string, string]
    const out = net.send(port, Uint8Array.from(Buffer.from(bytes, 'hex')))
    const text = out.map((delivery) => `${delivery.port} ${delivery.bytes}`).sort()
    expect([`${port} ${bytes} >`, ...text].join(' '), `line ${index + 1}`).toBe(line)
  }
  expect(lines.length).toBe(700)
  net.balance()
})
