/** Steps from one state to another: enough, in an order that works, and no more than needed. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { diff, reportStep } from '../../services/diff.ts'
import { EMPTY, type State } from '../../services/state.ts'
import { anyConfig, desired, Model } from './generate.ts'

function steps(current: State, wanted: State): string[] {
  return diff(current, wanted).map((step) => {
    const { action, subject, detail } = reportStep(step)
    return `${action} ${subject} (${detail})`
  })
}

const BASE = {
  name: 't',
  networks: {
    front: { ipam: { config: [{ subnet: '10.1.0.0/24' }] } },
    back: { ipam: { config: [{ subnet: '10.2.0.0/24' }] } },
  },
  sandboxes: {
    side: { network_mode: 'container:web' },
    web: { networks: ['front', 'back'] },
    db: { networks: ['back'] },
  },
  routes: [{ to: '10.9.0.0/16', via: '10.1.0.9' }],
}

describe('steps', () => {
  it('from nothing: networks, routes, then sandbox by sandbox, owners of a stack first', () => {
    expect(steps(EMPTY, desired(BASE))).toEqual([
      'create-network front (bridge 10.1.0.0/24)',
      'create-network back (bridge 10.2.0.0/24)',
      'create-network container:web (container)',
      'add-route 10.9.0.0/16 (via 10.1.0.9 on front)',
      'create-sandbox web (web)',
      'join web/front (eth0 10.1.0.2/24)',
      'join web/back (eth1 10.2.0.2/24)',
      'create-sandbox db (db)',
      'join db/back (eth0 10.2.0.3/24)',
      'create-sandbox side (web)',
      'join side/container:web (eth0)',
    ])
  })

  it('to nothing: the way back', () => {
    expect(steps(desired(BASE), EMPTY).map((text) => text.replace(/ \(.*/, ''))).toEqual([
      'leave db/back',
      'leave web/back',
      'leave web/front',
      'leave side/container:web',
      'delete-route 10.9.0.0/16',
      'delete-sandbox side',
      'delete-sandbox db',
      'delete-sandbox web',
      'delete-network front',
      'delete-network back',
      'delete-network container:web',
    ])
  })

  it('for one new sandbox touch nothing else', () => {
    const state = desired(BASE)
    const more = { ...BASE, sandboxes: { ...BASE.sandboxes, new: { networks: ['back'] } } }
    expect(steps(state, desired(more, state))).toEqual([
      'create-sandbox new (new)',
      'join new/back (eth0 10.2.0.4/24)',
    ])
  })

  it('for a network that changes take it away with all that rests on it', () => {
    const state = desired(BASE)
    const front = { ...BASE.networks.front, internal: false, enable_ipv6: true }
    const next = { ...BASE, networks: { ...BASE.networks, front } }
    const list = steps(state, desired(next, state)).map((text) => text.replace(/ \(.*/, ''))
    expect(list).toEqual([
      'leave web/front',
      'delete-route 10.9.0.0/16',
      'delete-network front',
      'create-network front',
      'add-route 10.9.0.0/16',
      'join web/front',
    ])
  })

  it('for names only do not touch the interface', () => {
    const state = desired(BASE)
    const web = { networks: { front: { aliases: ['www'] }, back: {} } }
    const next = { ...BASE, sandboxes: { ...BASE.sandboxes, web } }
    expect(steps(state, desired(next, state))).toEqual(['update web/front (eth0 10.1.0.2/24)'])
  })

  it('join again what was lost, and take away what was lost and is not wanted', () => {
    const state = { ...desired(BASE), lost: new Set(['db/back']) }
    expect(steps(state, desired(BASE, state))).toEqual([
      'leave db/back (eth0 10.2.0.3/24)',
      'join db/back (eth0 10.2.0.3/24)',
    ])
    const { db: _, ...sandboxes } = BASE.sandboxes
    expect(steps(state, desired({ ...BASE, sandboxes }, state))).toEqual([
      'leave db/back (eth0 10.2.0.3/24)',
      'delete-sandbox db (db)',
    ])
  })

  it('of an address that changes hands take before they give', () => {
    const with2 = (name: string): object => ({
      ...BASE,
      sandboxes: {
        a: { networks: { front: name === 'a' ? { ipv4_address: '10.1.0.2' } : {} } },
        b: { networks: { front: name === 'b' ? { ipv4_address: '10.1.0.2' } : {} } },
      },
    })
    const state = desired(with2('a'))
    expect(steps(state, desired(with2('b'), state))).toEqual([
      'leave b/front (eth0 10.1.0.3/24)',
      'leave a/front (eth0 10.1.0.2/24)',
      'join a/front (eth0 10.1.0.3/24)',
      'join b/front (eth0 10.1.0.2/24)',
    ])
  })
})

describe('any two configurations', () => {
  it('are joined by steps that a node can do, and that end where they should', () => {
    fc.assert(
      fc.property(anyConfig, anyConfig, fc.boolean(), (before, after, lose) => {
        const current = desired(before)
        const keys = lose ? [...current.endpoints.keys()].slice(0, 1) : []
        const state: State = { ...current, lost: new Set(keys) }
        const wanted = desired(after, state)
        const model = new Model(state)
        for (const step of diff(state, wanted)) model.run(step)
        const plain = (map: ReadonlyMap<string, unknown>): unknown => Object.fromEntries(map)
        expect(plain(model.networks)).toEqual(plain(wanted.networks))
        expect(plain(model.sandboxes)).toEqual(plain(wanted.sandboxes))
        expect(plain(model.endpoints)).toEqual(plain(wanted.endpoints))
        expect(plain(model.routes)).toEqual(plain(wanted.routes))
        expect(diff(model.state, desired(after, model.state))).toEqual([])
      }),
      { numRuns: 100 },
    )
  })
})
