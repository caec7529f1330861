import { describe, expect, it } from 'vitest'
import {
  busySeconds,
  parseBusy,
  parseProcess,
  processSeconds,
  residentMb,
} from '../../bench/cpu.ts'
import { parseDnsperf } from '../../bench/measure/dns.ts'
import { parsePing } from '../../bench/measure/rtt.ts'
import { iperfArguments, parseIperf } from '../../bench/measure/tcp.ts'
import { FAR, flatNames, NEAR, queryFile } from '../../bench/names.ts'
import { hears, listens, parseCounts, parseDatagrams } from '../../bench/netns.ts'

const NET_DEV = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls
    lo: 100 2 0 0 0 0 0 0 100 2 0 0 0 0 0 0
  eth0:1234567890123 42 0 1 0 0 0 0 998 7 0 3 0 0 0 0
 eth01: 5 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0
`

describe('interface counters', () => {
  it('reads one interface, also where no space follows the colon', () => {
    expect(parseCounts(NET_DEV, 'eth0')).toEqual({
      rxBytes: 1234567890123,
      ...{ txBytes: 998, txPackets: 7, txDropped: 3 },
    })
    expect(parseCounts(NET_DEV, 'eth01').txBytes).toBe(7)
  })

  it('refuses an interface that is not there', () => {
    expect(() => parseCounts(NET_DEV, 'eth1')).toThrow('no interface eth1')
  })

  it('knows that nobody listens on port 1', () => {
    expect(listens(process.pid, 1)).toBe(false)
    expect(hears(process.pid, '127.0.0.1', 1)).toBe(false)
  })
})

describe('processor time', () => {
  it('counts all but idle, waiting and guests', () => {
    const text = 'cpu  100 20 30 4000 500 6 7 800 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n'
    expect(parseBusy(text)).toBeCloseTo((100 + 20 + 30 + 6 + 7) / 100)
  })

  it('finds the fields behind a name with spaces and parentheses', () => {
    const text = '42 (a) b) c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 11 0 1 2 3'
    expect(parseProcess(text)).toBe(3)
  })

  it('sees this process work', () => {
    const busyBefore = busySeconds()
    const ownBefore = processSeconds(process.pid)
    const fromMs = performance.now()
    while (performance.now() - fromMs < 200) Math.sqrt(fromMs)
    const ownS = processSeconds(process.pid) - ownBefore
    expect(ownS).toBeGreaterThan(0)
    expect(busySeconds() - busyBefore).toBeGreaterThan(0)
    expect(residentMb(process.pid)).toBeGreaterThan(10)
  })
})

describe('ping', () => {
  it('lists every answer in microseconds', () => {
    const text = [
      'PING 10.77.1.12 (10.77.1.12) 56(84) bytes of data.',
      '64 bytes from 10.77.1.12: icmp_seq=1 ttl=64 time=0.181 ms',
      '64 bytes from 10.77.1.12: icmp_seq=2 ttl=64 time=12 ms',
      'rtt min/avg/max/mdev = 0.181/0.181/0.181/0.000 ms',
    ].join('\n')
    expect(parsePing(text)).toEqual([181, 12_000])
    expect(parsePing('')).toEqual([])
  })
})

describe('iperf3', () => {
  const sum = (gbit: number, retransmits: number): object => ({
    bits_per_second: gbit * 1e9,
    retransmits,
  })

  it('takes what the receiver got', () => {
    const end = { sum_sent: sum(11, 5), sum_received: sum(10, 0) }
    expect(parseIperf(JSON.stringify({ end }))).toEqual({ gbit: 10, retransmits: 5 })
  })

  it('adds both directions', () => {
    const end = {
      sum_sent: sum(11, 5),
      sum_received: sum(10, 0),
      sum_sent_bidir_reverse: sum(4, 2),
      sum_received_bidir_reverse: sum(3, 0),
    }
    expect(parseIperf(JSON.stringify({ end }))).toEqual({ gbit: 13, retransmits: 7 })
  })

  it('passes an error on', () => {
    const text = JSON.stringify({ error: 'unable to connect', end: {} })
    expect(() => parseIperf(text)).toThrow('iperf3: unable to connect')
  })

  it('asks for both directions in one run', () => {
    const times = { seconds: 5, warmUpSeconds: 1 }
    const both = iperfArguments('10.0.0.1', times, { streams: 1, bothWays: true })
    expect(both).toContain('--bidir')
    const eight = iperfArguments('10.0.0.1', times, { streams: 8, bothWays: false })
    expect(eight.join(' ')).toContain('-J -t 5 -O 1 -P 8')
    expect(eight).not.toContain('--bidir')
  })
})

describe('datagrams', () => {
  it('that were read or overran a buffer are counted, whatever the order of columns', () => {
    const text = 'Ip: A B\nIp: 1 2\nUdp: NoPorts InErrors InDatagrams\nUdp: 7 30 400\n'
    expect(parseDatagrams(text)).toBe(430)
    expect(() => parseDatagrams('Ip: A\nIp: 1\n')).toThrow('no counters of UDP')
  })
})

describe('dnsperf', () => {
  const summary = `
  Queries lost:         3 (0.30%)

  Response codes:       NOERROR 997 (100.00%)
  Queries per second:   2825.353593

  Average Latency (s):  0.028830 (min 0.004073, max 0.068451)
`

  it('is read', () => {
    const figures = parseDnsperf(summary)
    expect(figures).toMatchObject({ kQueries: 2.825353593, lost: 3 })
    expect(figures.averageUs).toBeCloseTo(28_830)
  })

  it('is refused with other answers than those that are there, or none', () => {
    const failed = summary.replace('NOERROR 997 (100.00%)', 'NOERROR 1 (50.00%), SERVFAIL 1 (50%)')
    expect(() => parseDnsperf(failed)).toThrow('SERVFAIL')
    expect(() => parseDnsperf('')).toThrow('none')
  })

  it('asks each of a thousand names once', () => {
    for (const list of [NEAR, FAR]) {
      expect(new Set(queryFile(list).trim().split('\n')).size).toBe(1000)
      expect(new Set(flatNames(list).map(({ name }) => name)).size).toBe(1000)
    }
  })
})
