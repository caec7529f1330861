/** Tables, numbers and text for people. */
import { describe, expect, it } from 'vitest'
import { prettyLine } from '../../services/cli/log_line.ts'
import { printable, timeOfDay } from '../../services/cli/output.ts'
import { type Column, counted, duration, grouped, scaled, table } from '../../services/cli/table.ts'

it('counts in words', () => {
  expect([counted(1, 'network'), counted(0, 'network')]).toEqual(['1 network', '0 networks'])
  expect([counted(1, 'sandbox'), counted(1200, 'sandbox')]).toEqual([
    '1 sandbox',
    '1,200 sandboxes',
  ])
})

describe('table', () => {
  interface Row {
    readonly name: string
    readonly count?: number
    readonly what?: string
  }
  const columns: Column<Row>[] = [
    { title: 'NAME', cell: ({ name }) => name },
    { title: 'COUNT', cell: ({ count }) => count, right: true },
    { title: 'WHAT', cell: ({ what }) => what },
  ]

  it('aligns columns, marks what is missing, and leaves no spaces at the end', () => {
    const rows = [
      { name: 'web1', count: 7, what: 'a' },
      { name: 'a-long-name', count: 1234, what: 'bb' },
      { name: 'é', what: '' },
    ]
    expect(table(columns, rows)).toEqual([
      'NAME         COUNT  WHAT',
      'web1             7  a',
      'a-long-name   1234  bb',
      'é                -  -',
    ])
  })

  it('has only titles without rows', () => {
    expect(table(columns, [])).toEqual(['NAME  COUNT  WHAT'])
  })

  it('does not let a name steer the terminal', () => {
    const line = table(columns, [{ name: '\x1b[31mred\n', count: 1, what: 'x' }])[1]!
    expect(line).toContain('\\x1b[31mred\\x0a')
    expect(printable('\u009b1m')).toBe('\\x9b1m')
  })
})

describe('numbers', () => {
  it.each([
    [0, '0'],
    [999, '999'],
    [1000, '1,000'],
    [1234567, '1,234,567'],
  ])('%d is grouped as %s', (value, expected) => expect(grouped(value)).toBe(expected))

  it.each([
    [0, '0'],
    [999.4, '999'],
    [999.6, '1.00k'],
    [1234, '1.23k'],
    [9999, '10.0k'],
    [18_123_456_789, '18.1G'],
    [999_600, '1.00M'],
    [123_456, '123k'],
  ])('%d is scaled as %s', (value, expected) => expect(scaled(value)).toBe(expected))

  it('puts a unit behind the prefix', () => {
    expect(scaled(18_123_456_789, 'bit/s')).toBe('18.1 Gbit/s')
    expect(scaled(7, 'bit/s')).toBe('7 bit/s')
  })

  it.each([
    [950, '950ms'],
    [12_000, '12s'],
    [190_000, '3m10s'],
    [7_500_000, '2h05m'],
    [4 * 86_400_000 + 3 * 3_600_000, '4d03h'],
  ])('%d ms is %s', (value, expected) => expect(duration(value)).toBe(expected))
})

describe('log lines for people', () => {
  const local = timeOfDay(new Date('2026-01-02T03:04:05.678Z'))

  it('has time, level, message and fields', () => {
    const line = prettyLine(
      '{"level":30,"time":"2026-01-02T03:04:05.678Z","name":"shop","network":"front","msg":"up"}\n',
    )
    expect(line).toBe(`${local} info  up network=front\n`)
  })

  it('shows the message of an error and spells control characters out', () => {
    const line = prettyLine(
      '{"level":50,"time":"2026-01-02T03:04:05.678Z","err":{"message":"no\\u001b[0m"},"msg":"x"}',
    )
    expect(line).toBe(`${local} error x err=no\\x1b[0m\n`)
  })
})
