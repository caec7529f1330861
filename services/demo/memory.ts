/**
 * The demo where nothing of the kernel's may be touched: the same three sandboxes as hosts in
 * memory, on virtual time, with the daemon's own bridge, proxy ARP and router between them. It is
 * the library (see docs/library.md), told step by step.
 */
import { StackError } from '../../stack/errors.ts'
import { FDB, NEIGHBORS } from '../cli/columns.ts'
import { table } from '../cli/table.ts'
import { traceLines } from '../cli/trace.ts'
import { createFabric, type Fabric } from '../fabric/fabric.ts'
import { PingError } from '../fabric/ping.ts'
import type { Sandbox } from '../fabric/sandbox.ts'
import type { Narrator } from './narrator.ts'

const SEED = 1
const LOSS_PCT = 30
const LOSSY_PINGS = 100

/** @throws StackError if something does not go as it should. */
export async function demoInMemory({ narrator }: { narrator: Narrator }): Promise<void> {
  const fabric = await createFabric({ seed: SEED })
  try {
    await tell(narrator, fabric)
  } finally {
    await fabric.close()
  }
  narrator.result('all is given back: no packet, no timer is left')
}

async function tell(narrator: Narrator, fabric: Fabric): Promise<void> {
  narrator.step('Two networks and three sandboxes')
  narrator.output(`const fabric = await createFabric({ seed: ${SEED} })
await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
await fabric.network('back', { subnets: ['10.2.0.0/24', 'fd00:2::/64'] })
const web1 = await fabric.sandbox('web1', { networks: { front: { ipv4: '10.1.0.11' } } })
const web2 = await fabric.sandbox('web2', { networks: { front: { ipv4: '10.1.0.12' } } })
const db = await fabric.sandbox('db', { networks: { back: { ipv4: '10.2.0.12' } } })`)
  await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
  await fabric.network('back', { subnets: ['10.2.0.0/24', 'fd00:2::/64'] })
  const web1 = await fabric.sandbox('web1', { networks: { front: { ipv4: '10.1.0.11' } } })
  const web2 = await fabric.sandbox('web2', { networks: { front: { ipv4: '10.1.0.12' } } })
  const db = await fabric.sandbox('db', { networks: { back: { ipv4: '10.2.0.12' } } })

  narrator.step('web1 reaches its neighbor, and another network through the router')
  for (const address of [web2.ipv4(), db.ipv4(), db.ipv6()]) await ping(narrator, web1, address)
  narrator.command(`web1.traceroute('${db.ipv4()}')`)
  narrator.output((await web1.traceroute(db.ipv4())).join(' → '))

  narrator.step('UDP between networks')
  await exchange(narrator, web1, db)

  narrator.step('A bad link: faults are injected per link, and a seed replays them')
  await lossy(narrator, fabric, web1)

  narrator.step('What it learned on the way, and what it knows')
  narrator.output(table(FDB, fabric.controller.fdb()).join('\n'))
  narrator.output(`\n${table(NEIGHBORS, fabric.controller.neigh()).join('\n')}`)

  narrator.step('What would happen to a packet, and why: nothing is sent')
  const request = { from: 'web1', to: db.ipv4(), proto: 'tcp', dport: 80 } as const
  narrator.output(traceLines(fabric.controller.trace(request)).join('\n'))
}

async function ping(narrator: Narrator, from: Sandbox, address: string): Promise<void> {
  narrator.command(`${from.name}.ping('${address}')`)
  const { ttl, bytes } = await from.ping(address)
  narrator.output(`${bytes} octets from ${address}, TTL ${ttl}`)
}

async function exchange(narrator: Narrator, web1: Sandbox, db: Sandbox): Promise<void> {
  db.udp(53).onMessage((message) => message.reply(`you said "${message.text}"`))
  const client = web1.udp()
  client.send('hello', db.ipv4(), 53)
  const { text, address, port } = await client.receive()
  narrator.output(`${address} port ${port} answers: ${text}`)
}

/** How many of many pings come back over a link that loses some. */
async function lossy(narrator: Narrator, fabric: Fabric, web1: Sandbox): Promise<void> {
  narrator.command(`fabric.link('web2', 'front').faults({ lossPct: ${LOSS_PCT}, delayMs: 20 })`)
  const link = fabric.link('web2', 'front')
  link.faults({ lossPct: LOSS_PCT, delayMs: 20 })
  let answered = 0
  for (let i = 0; i < LOSSY_PINGS; i++) {
    try {
      await web1.ping('10.1.0.12', { timeoutMs: 1000 })
      answered++
    } catch (error) {
      if (!(error instanceof PingError)) throw error
    }
  }
  link.faults({})
  narrator.output(`${answered} of ${LOSSY_PINGS} answered, both ways over that link`)
  if (answered === 0 || answered === LOSSY_PINGS) {
    throw new StackError('daemon', 'the faults had no effect')
  }
}
