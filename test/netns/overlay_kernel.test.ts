/**
 * A tunnel to the kernel's own vxlan device and back: both families inside and outside, bulk
 * traffic, and what tshark says of the datagrams.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Count } from '../../stack/counters.ts'
import { DropReason } from '../../stack/drop.ts'
import { deleteNetns, inNetns } from '../../stack/native/netns.ts'
import { hasTool, run } from './lab.ts'
import { TapTunnel } from './tap_tunnel.ts'
import { ip, makeWire, type Wire } from './wire.ts'

const VNI = 77
const ENDS = { 4: ['10.200.0.1', '10.200.0.2'], 6: ['fd00:200::1', 'fd00:200::2'] } as const
const GROUPS = { 4: '239.4.4.4', 6: 'ff05::44' } as const
const FAR = { 4: '10.9.0.2', 6: 'fd00:9::2' } as const

for (const outer of [4, 6] as const) {
  describe.skipIf(!hasTool('iperf3', 'iperf3'))(`kernel vxlan over IPv${outer}`, () => {
    const mtuBytes = outer === 4 ? 1450 : 1430
    let wire: Wire
    let near: string
    let node: TapTunnel

    /** The far node is the kernel's: a vxlan device with the addresses on it. */
    function makeFar(flood: readonly [string, string]): void {
      const [, far] = wire.names
      const where = ['local', ENDS[outer][1], ...flood, 'dstport', '4789', 'dev', 'w0']
      const sums = outer === 6 ? ['udpcsum'] : []
      ip('-n', far, 'link', 'add', 'vx0', 'type', 'vxlan', 'id', `${VNI}`, ...where, ...sums)
      ip('-n', far, 'addr', 'add', `${FAR[4]}/24`, 'dev', 'vx0')
      ip('-n', far, 'addr', 'add', `${FAR[6]}/64`, 'dev', 'vx0', 'nodad')
      ip('-n', far, 'link', 'set', 'vx0', 'mtu', `${mtuBytes}`, 'up')
    }

    const inside = (netns: string, ...command: string[]): ReturnType<typeof run> =>
      run(['ip', 'netns', 'exec', netns, ...command])

    /** Bits a second that arrived. */
    async function iperf(to: string, ...args: string[]): Promise<number> {
      const server = spawn('ip', [
        'netns',
        'exec',
        wire.names[1],
        'iperf3',
        '-s',
        '-1',
        '--forceflush',
      ])
      await new Promise((resolve) => server.stdout.once('data', resolve))
      const amount = args.includes('-n') ? [] : ['-t', '1']
      const { stdout } = await inside(near, 'iperf3', '-c', to, '-J', ...amount, ...args)
      server.kill('SIGKILL')
      const { end, error } = JSON.parse(stdout) as {
        error?: string
        end: { sum_received?: { bits_per_second: number } }
      }
      expect(error).toBeUndefined()
      return end.sum_received!.bits_per_second
    }

    async function openNear(group?: string): Promise<TapTunnel> {
      const [underlay, peer] = ENDS[outer]
      const addresses = ['10.9.0.1/24', 'fd00:9::1/64']
      const place = { netns: near, underlayNetns: wire.names[0], underlay, peer }
      return await TapTunnel.open({
        ...place,
        addresses,
        mtuBytes,
        vni: VNI,
        ...(group && { group }),
      })
    }

    beforeEach(async () => {
      wire = makeWire()
      near = `${wire.names[0]}s`
      makeFar(['remote', ENDS[outer][0]])
      node = await openNear()
    })

    afterEach(() => {
      node.close()
      wire.remove()
      deleteNetns(near)
    })

    it('pings, and answers a broadcast', async () => {
      for (const to of [FAR[4], FAR[6]]) {
        const { stdout } = await inside(near, 'ping', '-n', '-c3', '-i0.2', '-W3', to)
        expect(stdout).toContain('3 received')
      }
      inNetns(wire.names[1], () =>
        execFileSync('sysctl', ['-qw', 'net.ipv4.icmp_echo_ignore_broadcasts=0']),
      )
      const { stdout } = await inside(near, 'ping', '-n', '-b', '-c2', '-W3', '10.9.0.255')
      expect(stdout).toContain('2 received')
    })

    it('floods by a multicast group, and hears it', async () => {
      const group = GROUPS[outer]
      node.close()
      ip('-n', wire.names[1], 'link', 'del', 'vx0')
      makeFar(['group', group])
      node = await openNear(group)
      // The far end asks first: all that it knows of us is the group.
      for (const to of ['10.9.0.1', 'fd00:9::1']) {
        const { stdout } = await inside(wire.names[1], 'ping', '-n', '-c2', '-i0.2', '-W3', to)
        expect(stdout).toContain('2 received')
      }
      const { counters } = node.runtime.pool
      expect(counters.drops(node.underlay.port, DropReason.VxlanUnknownVtep)).toBe(0)
      node.tunnel.setGroup(undefined)
      ip('-n', wire.names[1], 'neigh', 'flush', 'all')
      const { stdout } = await inside(wire.names[1], 'ping', '-n', '-c1', '-W1', '10.9.0.1')
      expect(stdout, 'what nobody hears').toContain(' 0 received')
    })

    it.each([
      ['IPv4', FAR[4]],
      ['IPv6', FAR[6]],
    ])('carries bulk TCP over %s both ways', async (_, to) => {
      expect(await iperf(to)).toBeGreaterThan(1e7)
      expect(await iperf(to, '-R')).toBeGreaterThan(1e7)
      const { counters } = node.runtime.pool
      const out = counters.value(node.underlay.port, Count.TxPackets)
      const bytes = counters.value(node.underlay.port, Count.TxBytes)
      expect(bytes / out, 'super-frames stay whole').toBeGreaterThan(1500)
      expect(node.problems).toEqual([])
    })

    it('carries UDP both ways', async () => {
      expect(await iperf(FAR[4], '-u', '-b', '20M')).toBeGreaterThan(1e7)
      expect(await iperf(FAR[4], '-u', '-b', '20M', '-R')).toBeGreaterThan(1e7)
    })

    it.skipIf(!hasTool('tshark', 'tshark'))(
      'sends what tshark has no complaint about',
      async () => {
        const folder = mkdtempSync(join(tmpdir(), 'tlx-'))
        const file = join(folder, 'wire.pcap')
        try {
          // Without offloads checksums are on the wire, and the kernel's segments are.
          for (const name of wire.names) {
            await inside(name, 'ethtool', '-K', 'w0', 'tx', 'off', 'gro', 'off')
          }
          const capture = spawn('ip', [
            ...['netns', 'exec', wire.names[1], 'tcpdump', '-i', 'w0', '-Uw', file, '-s0'],
            ...['-c', '4000', 'src', ENDS[outer][0]],
          ])
          await new Promise((resolve) => capture.stderr.once('data', resolve))
          await iperf(FAR[4], '-n', '2M')
          await iperf(FAR[6], '-n', '2M')
          await iperf(FAR[4], '-u', '-b', '5M')
          capture.kill('SIGINT')
          await new Promise((resolve) => capture.once('exit', resolve))
          const checks = ['ip', 'udp', 'tcp'].flatMap((name) => [
            '-o',
            `${name}.check_checksum:TRUE`,
          ])
          const fields = ['-T', 'fields', '-e', 'frame.number', '-e', '_ws.expert.message']
          const bad = '(udp or tcp or vxlan) and _ws.expert.severity >= "Warning"'
          const filter = ['-Y', `${bad} and not tcp.analysis.flags`]
          // What iperf3 sends is not to be taken for what else has one of its ports.
          const plain = ['tcp', 'udp'].flatMap((name) => ['-d', `${name}.port==5201,data`])
          const read = ['tshark', '-r', file, ...checks, ...plain]
          const { code, stdout } = await run([...read, ...filter, ...fields])
          // A kernel that sent something twice is told so by the other: no fault of the wire's.
          const complaints = stdout.split('\n').filter((line) => !line.endsWith('D-SACK Sequence'))
          expect({ code, complaints }).toEqual({ code: 0, complaints: [''] })
          const inner = await run([
            ...read,
            '-Y',
            `vxlan.vni == ${VNI} and tcp.checksum.status == 1`,
          ])
          expect(inner.stdout.split('\n').length).toBeGreaterThan(1000)
          expect(node.problems).toEqual([])
        } finally {
          rmSync(folder, { recursive: true, force: true })
        }
      },
    )
  })
}
