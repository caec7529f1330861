/**
 * Ports that come and go beside traffic that stays: bulk TCP through one published port while
 * hundreds of others, and ten thousand at once, are added and removed; UDP that follows a port to
 * another sandbox with its next datagram; what a range of ten thousand ports costs.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client } from '../../services/client.ts'
import type { DropRow } from '../../services/views_counters.ts'
import type { ConntrackRow } from '../../stack/ip/conntrack_list.ts'
import { Lab } from './lab.ts'
import { FRONT, OWN4, OWN6, onFront, uplinkOf } from './outside.ts'
import { ASK_UDP, NAMED_UDP, type Received, SINK, SOURCE, Talk } from './talk.ts'

const FAMILIES = [
  ['IPv4', OWN4],
  ['IPv6', OWN6],
] as const

const RANGE = '20000-29999:20000-29999'
/** Ports that come and go one by one beside a transfer. */
const PORTS = 200
/** A pause in a transfer that would show: the least of TCP's timeouts is a fifth of it. */
const PAUSE_MS = 1000
/** A change that lost a packet each time would lose hundreds. */
const UNTOLD_MAX = 10
const RANGE_BYTES_MAX = 20e6

function file(lab: Lab, webPorts: string, appPorts: string): string {
  return `
name: ${lab.prefix}
# Sandboxes have servers of their own on port 53 before it is published.
dns: { loopback: false }
networks:
${FRONT}
sandboxes:
${onFront(lab, 'web', 11)}
    ports: [ ${webPorts} ]
${onFront(lab, 'app', 12)}
    ports: [ ${appPorts} ]
${uplinkOf(lab)}
`
}

/** Processes below the daemon, and its threads. */
function parts(lab: Lab): { children: string; threads: number } {
  const proc = `/proc/${lab.daemon!.pid}`
  const children = readdirSync(`${proc}/task`).map((task) =>
    readFileSync(`${proc}/task/${task}/children`, 'utf8'),
  )
  return { children: children.join(''), threads: children.length }
}

/** What TCP in a sandbox counts, by its names in /proc/net. */
async function tcpCounts(lab: Lab, sandbox: string): Promise<Map<string, number>> {
  const { stdout } = await lab.exec(sandbox, 'cat', '/proc/net/snmp', '/proc/net/netstat')
  const lines = stdout.split('\n').filter((line) => /^Tcp(Ext)?:/.test(line))
  const counts = new Map<string, number>()
  for (let i = 0; i < lines.length; i += 2) {
    const [names, values] = [lines[i]!.split(' '), lines[i + 1]!.split(' ')]
    for (const [at, name] of names.entries()) counts.set(name, Number(values[at]))
  }
  return counts
}

/** Segments sent again, ever; and those of them that the other end said it had twice. */
async function retransmitted(lab: Lab, sandbox: string): Promise<{ all: number; vain: number }> {
  const counts = await tcpCounts(lab, sandbox)
  return { all: counts.get('RetransSegs')!, vain: counts.get('TCPDSACKRecvSegs')! }
}

describe.each(['io_uring', 'poll'])('ports that come and go, %s', (engine) => {
  const lab = new Lab()
  const client = new Client(lab.socket)

  let longestMs = 0
  const timed = async (path: string, body: object): Promise<void> => {
    const beganMs = performance.now()
    await client.post(path, body)
    longestMs = Math.max(longestMs, performance.now() - beganMs)
  }
  const add = (spec: string, sandbox: string) => timed('ports/add', { spec, sandbox })
  const remove = (spec: string) => timed('ports/remove', { spec })
  /** Packets dropped that came in by the devices of a transfer, by reason. */
  const drops = async (): Promise<string[]> => {
    const rows = await client.get<DropRow[]>('drops')
    const own = rows.filter(({ device }) => /^(web\/eth0|uplink)/.test(device))
    return own
      .filter(({ count }) => count > 0)
      .map((row) => `${row.device} ${row.reason} ${row.count}`)
  }

  beforeAll(async () => {
    await lab.up(file(lab, '"7004:7004", "7006:7006"', ''), ['--engine', engine])
  })

  afterAll(async () => {
    expect(await lab.end()).toEqual({ code: 0, left: [] })
  })

  it('take no process, no descriptor and little memory, ten thousand at once', async ({
    annotate,
  }) => {
    await add('8080:80', 'web')
    await remove('8080')
    const [before, { rssKb, descriptors }] = [parts(lab), lab.usage()]
    await add(RANGE, 'web')
    await add(`${RANGE}/udp`, 'web')
    const grownBytes = (lab.usage().rssKb - rssKb) * 1024
    expect(parts(lab)).toEqual(before)
    expect(lab.usage().descriptors).toBeLessThanOrEqual(descriptors + 2)
    expect(grownBytes).toBeLessThan(RANGE_BYTES_MAX)
    await annotate(`20,000 ports: ${Math.round(grownBytes / 1000)} KB more, ${engine}`)
    for (const port of ['20000', '24321', '29999']) {
      const server = new Talk(lab, 'web', NAMED_UDP, port, 'web')
      expect(await server.hear()).toBe('"listens"')
      for (const [, address] of FAMILIES) {
        expect(await new Talk(lab, 'out', ASK_UDP, address, port).ask('x')).toBe('web')
      }
      server.child.kill('SIGKILL')
    }
    await remove('20000-29999')
    await remove('20000-29999/udp')
  })

  it('leave a transfer through another port alone', async ({ annotate }) => {
    const transfers: { sink: Talk; source: Talk }[] = []
    for (const [, address] of FAMILIES) {
      const port = address === OWN4 ? '7004' : '7006'
      const sink = new Talk(lab, 'web', SINK, port)
      expect(await sink.hear()).toBe('"listens"')
      transfers.push({ sink, source: new Talk(lab, 'out', SOURCE, address, port) })
    }
    const received = () => Promise.all(transfers.map(({ sink }) => sink.ask<Received>('?')))
    const bytes = async () => (await received()).map((each) => each.bytes)
    await expect
      .poll(async () => Math.min(...(await bytes())), { timeout: 20_000 })
      .toBeGreaterThan(10e6)
    /** Packets that each of the two connections had so far, as connection tracking has it. */
    const tracked = async (): Promise<number[]> => {
      const find = (port: number) => client.get<ConntrackRow[]>('conntrack', { port })
      const rows = (await Promise.all([7004, 7006].map(find))).flat()
      return rows.map(({ original }) => original.packets)
    }
    const trackedBefore = await tracked()
    expect(trackedBefore).toHaveLength(2)
    const [dropsBefore, againBefore] = [await drops(), await retransmitted(lab, 'out')]
    const began = await bytes()
    for (let i = 0; i < PORTS; i++) {
      await add(`${8000 + i}:80`, i % 2 === 0 ? 'web' : 'app')
      if (i % 10 === 0) await add(RANGE, 'web')
      if (i % 10 === 5) await remove('20000-29999')
      await remove(`${8000 + i}`)
    }
    const ended = await bytes()
    await annotate(`longest change ${Math.round(longestMs)} ms`)
    for (const [i, count] of ended.entries()) expect(count - began[i]!).toBeGreaterThan(50e6)
    expect(await drops()).toEqual(dropsBefore)
    const trackedAfter = await tracked()
    expect(trackedAfter).toHaveLength(2)
    for (const [i, count] of trackedAfter.entries()) {
      expect(count).toBeGreaterThan(trackedBefore[i]! + 500)
    }
    for (const { sink, source } of transfers) {
      const sent = await source.ask<{ bytes: number; error: string | null }>('end')
      expect(sent.error).toBe(null)
      const taken = JSON.parse(await sink.hear()) as Received
      expect(taken).toMatchObject({ bytes: sent.bytes, intact: true })
      expect(taken.pauseMs).toBeLessThan(PAUSE_MS)
      await annotate(`${sent.bytes / 1e6} MB, longest pause ${Math.round(taken.pauseMs)} ms`)
    }
    // TCP may think that a segment is late. Nothing was lost if each copy was one too many; that
    // is not always said, as an acknowledgment has room for one of them.
    const again = await retransmitted(lab, 'out')
    const [all, vain] = [again.all - againBefore.all, again.vain - againBefore.vain]
    await annotate(`${all} segments retransmitted, ${vain} of them in vain, ${engine}`)
    expect(all - vain).toBeLessThan(UNTOLD_MAX)
  }, 120_000)

  it.each(FAMILIES)('take a UDP socket along to another sandbox, %s', async (_, address) => {
    const servers = []
    for (const name of ['web', 'app']) {
      const server = new Talk(lab, name, NAMED_UDP, '53', name)
      expect(await server.hear()).toBe('"listens"')
      servers.push(server)
    }
    const asking = new Talk(lab, 'out', ASK_UDP, address, '5353')
    await add('5353:53/udp', 'web')
    expect([await asking.ask('1'), await asking.ask('2')]).toEqual(['web', 'web'])
    await remove('5353/udp')
    await add('5353:53/udp', 'app')
    expect([await asking.ask('3'), await asking.ask('4')]).toEqual(['app', 'app'])
    lab.write(file(lab, '"7004:7004", "7006:7006", "5353:53/udp"', ''))
    expect(await lab.cli('apply', lab.file)).toMatchObject({ code: 0, stderr: '' })
    expect([await asking.ask('5'), await asking.ask('6')]).toEqual(['web', 'web'])
    expect(await Promise.all(servers.map((server) => server.ask('?')))).toEqual([4, 2])
    await remove('5353/udp')
    for (const { child } of [...servers, asking]) child.kill('SIGKILL')
  })
})
