/** The router's own echo replies are of no connection, however late they are given up. */
import { expect, test } from 'vitest'
import { echo4, ipOf, pattern, udp } from './lab.ts'
import { NatLab, PLAN4 } from './nat_lab.ts'

const { client, outside, gateway } = PLAN4
const ABSENT = '10.1.0.77'

test('a reply to who is not there any more is nobody else’s fault', () => {
  const lab = new NatLab()
  lab.ip(lab.front, echo4({ from: ABSENT, to: gateway }, pattern(8)))
  lab.take()
  lab.ip(lab.front, udp({ from: client, to: outside }, { to: 53 }, pattern(8)))
  expect(lab.one().leg).toBe('up')
  lab.run(5000)
  const packets = lab.take().filter(({ bytes }) => bytes[12] === 8 && bytes[13] === 0)
  expect(packets.map(ipOf)).toEqual([])
  lab.end()
})
