/** The table as text, and settings as its lines: what goes out is what comes back. */
import { describe, expect, it } from 'vitest'
import {
  elementsScript,
  handOverScript,
  portElement,
  tableScript,
} from '../../../services/host/ruleset.ts'
import { formatSetting, parseSetting } from '../../../services/host/sysctls.ts'
import { parseAddress } from '../../../stack/address.ts'

const NET4 = {
  family: 4,
  router: parseAddress('198.18.0.2'),
  host: parseAddress('198.18.0.1'),
  bits: 26,
} as const

describe('the table', () => {
  it('has nothing of a family that the transfer net has not', () => {
    const script = tableScript({ table: 't', interfaceName: 'i', nets: [NET4], before: [] })
    expect(script).toContain('any4')
    expect(script).not.toMatch(/any6|bound6|ip6/)
  })

  it('lets no loopback address of another stack in or out', () => {
    const script = tableScript({ table: 't', interfaceName: 'i', nets: [NET4], before: [] })
    expect(script).toContain('iifname "i" ip saddr 127.0.0.0/8 drop')
    expect(script).toContain('iifname "i" ip daddr 127.0.0.0/8 drop')
  })

  it('takes ports as elements', () => {
    const any = { protocol: 17, family: 4, address: undefined, port: 53, count: 1 } as const
    const one = { ...any, address: parseAddress('127.0.0.1'), port: 9000, count: 10 }
    const elements = [
      portElement(any, undefined),
      portElement(one, parseAddress('198.18.0.3')),
      portElement({ ...any, family: 6 }, undefined),
    ]
    expect(elementsScript('add', 't', elements)).toBe(
      'add element inet t any4 { 17 . 53 }\n' +
        'add element inet t bound4 { 127.0.0.1 . 17 . 9000-9009 : 198.18.0.3 }\n' +
        'add element inet t any6 { 17 . 53 }\n',
    )
    expect(elementsScript('delete', 't', [])).toBe('')
  })
})

describe('settings', () => {
  it('come back from the lines that remember them', () => {
    const setting = { key: 'net/ipv6/conf/eth0.7/accept_ra', value: '1' }
    expect(parseSetting(formatSetting(setting))).toEqual(setting)
    expect(handOverScript('t', [formatSetting(setting)])).toBe(
      'add rule inet t before return comment "net/ipv6/conf/eth0.7/accept_ra=1"\n',
    )
  })

  it.each([
    'interface tapline0',
    'net/ipv4/ip_forward',
    'net/ipv4/../../kernel/sysrq=1',
    'net/ipv4/conf/./forwarding=1',
    'kernel/core_pattern=1',
    'net/ipv4/ip_forward=10',
    '/net/ipv4/ip_forward=1',
  ])('are none of: %s', (line) => {
    expect(parseSetting(line)).toBeUndefined()
  })
})
