/** The table of maglev.ts: shares, and what changes hands. */
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { BackendField } from '../../stack/ip/backend_field.ts'
import { Backends } from '../../stack/ip/backends.ts'
import { MAGLEV_SLOTS, Maglev } from '../../stack/ip/maglev.ts'
import { hashAddress } from '../../stack/ip/rendezvous.ts'
import { BalanceLab, tupleOf } from './balance_lab.ts'
import { pattern, tcp } from './lab.ts'
import { NatLab, PLAN4, PLAN6 } from './nat_lab.ts'

const SYN = 2
const ACK = 16

function tableOf(weights: readonly number[], identity = (i: number): number => i): Int16Array {
  const field = new BackendField()
  for (const [i, weight] of weights.entries()) {
    field.extend()
    field.configured[i] = weight
    field.identities[i] = hashAddress(Int32Array.of(0, 0, 0xffff, identity(i)), 0, 0)
  }
  const maglev = new Maglev()
  maglev.changed(field)
  return maglev.slots
}

function sharesOf(slots: Int16Array): number[] {
  const shares: number[] = []
  for (const backend of slots) shares[backend] = (shares[backend] ?? 0) + 1
  return Array.from(shares, (share) => share ?? 0)
}

describe('the table', () => {
  it.each([
    ['one', [1]],
    ['ten alike', new Array<number>(10).fill(1)],
    ['ten unlike', [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
    ['very unlike', [1, 100, 256, 17, 3]],
    ['six hundred', new Array<number>(600).fill(1)],
  ] as const)('%s: shares as weights, within 2 %%', (_, weights) => {
    const shares = sharesOf(tableOf(weights))
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    for (const [i, weight] of weights.entries()) {
      const ideal = (MAGLEV_SLOTS * weight) / total
      expect(Math.abs(shares[i]! / ideal - 1), `backend ${i}`).toBeLessThan(0.02)
    }
  })

  it('is empty without members, and has none of weight 0', () => {
    expect(new Set(tableOf([0, 0]))).toEqual(new Set([-1]))
    expect(new Set(tableOf([0, 3, 0, 2]))).toEqual(new Set([1, 3]))
  })

  it('does not depend on the order of the backends', () => {
    const one = tableOf([1, 2, 3, 4])
    const other = tableOf([4, 3, 2, 1], (i) => 3 - i)
    expect(other.map((backend) => 3 - backend)).toEqual(one)
  })

  it('hardly changes when one of ten goes', () => {
    const before = tableOf(new Array<number>(10).fill(1))
    const after = tableOf([1, 1, 1, 1, 0, 1, 1, 1, 1, 1])
    let others = 0
    for (const [i, backend] of before.entries()) {
      if (backend !== 4 && after[i] !== backend) others++
    }
    expect(others / MAGLEV_SLOTS).toBeLessThan(0.05)
  })

  it('hashes as it did in the last version: nodes of two versions agree', () => {
    const slots = tableOf([1, 1, 1])
    expect([...slots.subarray(0, 12)]).toMatchInlineSnapshot(`
      [
        1,
        2,
        2,
        0,
        1,
        2,
        2,
        0,
        0,
        2,
        2,
        0,
      ]
    `)
  })
})

describe('the scheduler', () => {
  it('moves no sibling at all while one is down, draining or ejected', () => {
    const lab = new BalanceLab({ scheduler: 'maglev' })
    lab.addAll(new Array<number>(10).fill(1))
    const keys = Array.from({ length: 5000 }, (_, i) => tupleOf(i, i))
    const before = keys.map((key) => lab.pick(key))
    const check = (): void => {
      const after = keys.map((key) => lab.pick(key))
      const spilled = new Set<number>()
      for (const [i, backend] of before.entries()) {
        if (backend !== 3) expect(after[i]).toBe(backend)
        else spilled.add(after[i]!)
      }
      expect(spilled.size).toBe(9)
      expect(spilled.has(3)).toBe(false)
    }
    lab.backends.setUp(3, false)
    check()
    lab.backends.setUp(3, true)
    lab.backends.setWeight(3, 0)
    check()
    lab.backends.setWeight(3, 1)
    lab.fail(3, 5)
    check()
    lab.pass(10_000)
    expect(keys.map((key) => lab.pick(key))).toEqual(before)
  })

  it('spreads connections of one client, by weight', () => {
    const lab = new BalanceLab({ scheduler: 'maglev' })
    lab.addAll([1, 2, 5])
    const counts = [0, 0, 0]
    for (let port = 0; port < 60_000; port++) counts[lab.pick(tupleOf(1, port))]!++
    for (const [i, weight] of [1, 2, 5].entries()) {
      expect(Math.abs(counts[i]! / (7500 * weight) - 1)).toBeLessThan(0.05)
    }
  })
})

describe.each([PLAN4, PLAN6])('with connections, IPv$family', (plan) => {
  it('a backend that goes moves no connection of its siblings', () => {
    const lab = new NatLab()
    const balance = new Backends({
      clock: lab.clock,
      seed: 1,
      scheduler: 'maglev',
      affinityMs: 0,
      slowStartMs: 0,
    })
    const network = plan.family === 4 ? '10.2.0.' : 'fd00:2::'
    const hosts = Array.from({ length: 10 }, (_, i) => `${network}${i + 30}`)
    for (const host of hosts) {
      lab.host(lab.back, host)
      balance.add({ address: parseAddress(host), weight: 1, up: true })
    }
    const address = parseAddress(plan.backGateway)
    const service = { protocol: 6, address, port: 80, targetPort: 8080, balance } as const
    lab.nat.addService(service)
    const from = plan.client
    const send = (port: number, flags: number): string => {
      const header = { from, to: plan.backGateway }
      return lab.line(lab.front, tcp(header, { from: port, to: 80, flags }, pattern(0)))
    }
    const ports = Array.from({ length: 300 }, (_, i) => 10_000 + i)
    const before = ports.map((port) => send(port, SYN))
    expect(balance.flows).toBe(300)
    balance.remove(4)
    lab.nat.endBackend(service, 4)
    for (const [i, port] of ports.entries()) {
      const gone = before[i]!.includes(plan.family === 4 ? '10.2.0.34:' : '[fd00:2::34]:')
      if (!gone) expect(send(port, SYN)).toBe(before[i])
      else expect(send(port, SYN)).not.toBe(before[i])
    }
    expect(send(9999, ACK)).toContain('8080')
    for (let i = 0; i < 10; i++) if (i !== 4) balance.setUp(i, false)
    lab.ip(lab.front, tcp({ from, to: plan.backGateway }, { to: 80, flags: SYN }, pattern(0)))
    expect(lab.drops()).toEqual({ 'no-backend': 1 })
    expect(balance.refusals).toBe(1)
    lab.nat.removeService(service)
    expect(lab.conntrack.count).toBe(0)
    lab.end()
  })
})
