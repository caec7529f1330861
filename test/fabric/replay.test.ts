/** A capture of one fabric is traffic in another. */
import { expect, it } from 'vitest'
import { createFabric, type Fabric, type UdpSocket } from '../../services/fabric/library.ts'

async function two(): Promise<{ fabric: Fabric; server: UdpSocket }> {
  const fabric = await createFabric()
  await fabric.network('lan', { subnets: ['10.1.0.0/24'] })
  await fabric.sandbox('a', { networks: { lan: { ipv4: '10.1.0.11' } } })
  const b = await fabric.sandbox('b', { networks: { lan: { ipv4: '10.1.0.12' } } })
  return { fabric, server: b.udp(7000) }
}

it('replays what a sandbox had sent, through the node', async () => {
  const first = await two()
  const capture = first.fabric.capture('all')
  const client = first.fabric.get('a').udp()
  for (const text of ['one', 'two']) client.send(text, '10.1.0.12', 7000)
  expect((await first.server.receive()).text).toBe('one')
  expect((await first.server.receive()).text).toBe('two')
  capture.stop()
  await first.fabric.close()

  const { fabric, server } = await two()
  const bytes = capture.bytes()
  const { frames, skipped } = await fabric.replay('a/eth0', bytes, { interface: 'a/eth0' })
  expect(frames).toBeGreaterThan(1)
  expect(frames + skipped).toBe(capture.frames)
  expect((await server.receive()).text).toBe('one')
  expect((await server.receive()).text).toBe('two')
  // As if b had sent it: what a says is spoofed there.
  await fabric.replay('b/eth0', bytes, { interface: 'a/eth0' })
  await expect(server.receive({ timeoutMs: 100 })).rejects.toThrow()

  await expect(fabric.replay('x/eth0', bytes)).rejects.toThrow('no device x/eth0')
  await expect(fabric.replay('a/eth0', '/nowhere.pcapng')).rejects.toThrow('/nowhere.pcapng')
  await expect(fabric.replay('a/eth0', new Uint8Array(64))).rejects.toThrow('replay by a/eth0')
  const cut = bytes.subarray(0, bytes.length - 3)
  await expect(fabric.replay('a/eth0', cut)).rejects.toThrow('ends inside a block')
  await fabric.close()
})
