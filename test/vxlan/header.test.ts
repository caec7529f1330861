/** VXLAN headers by RFC 7348 §5, figure 1, and the marks of RFC 6040 §4.2, figure 4. */
import { expect, test } from 'vitest'
import { sum } from '../../stack/checksum.ts'
import * as ecn from '../../stack/vxlan/ecn.ts'
import * as vxlan from '../../stack/vxlan/header.ts'
import { frame, HOST_MAC, ip4, ip6, pattern, udp } from '../ip/lab.ts'

const V4 = { from: '10.1.0.11', to: '10.1.0.12' }
const V6 = { from: 'fd00:1::11', to: 'fd00:1::12' }

test('a header is written as in figure 1, over whatever was there', () => {
  const mem = new Uint8Array(12).fill(0xa5)
  vxlan.putHeader(mem, 2, 0x123456)
  expect(Buffer.from(mem).toString('hex')).toBe('a5a50800000012345600a5a5')
  expect(vxlan.isHeader(mem, 2, 8)).toBe(true)
  expect(vxlan.vni(mem, 2)).toBe(0x123456)
  expect(vxlan.hasRemoteChecksum(mem, 2)).toBe(false)
  vxlan.putHeader(mem, 2, vxlan.VNI_MAX)
  expect(vxlan.vni(mem, 2)).toBe(vxlan.VNI_MAX)
})

test('a remote checksum is said in the reserved octets', () => {
  const mem = new Uint8Array(8)
  vxlan.putHeader(mem, 0, 42)
  vxlan.putRemoteChecksum(mem, 0, vxlan.Remote.Udp | (34 >> 1))
  expect(Buffer.from(mem).toString('hex')).toBe('0820000000002a91')
  expect(vxlan.hasRemoteChecksum(mem, 0)).toBe(true)
  expect((vxlan.remoteChecksum(mem, 0) & vxlan.Remote.StartMask) * 2).toBe(34)
  expect(vxlan.vni(mem, 0)).toBe(42)
})

test('a short header, or one without a VNI, is none; other reserved bits are ignored', () => {
  const mem = Uint8Array.from([0x08, 0xff, 0xff, 0xff, 0, 0, 1, 0xff])
  for (let bytes = 0; bytes < 8; bytes++) expect(vxlan.isHeader(mem, 0, bytes)).toBe(false)
  expect(vxlan.isHeader(mem, 0, 8)).toBe(true)
  mem[0] = 0xf7
  expect(vxlan.isHeader(mem, 0, 8)).toBe(false)
})

const { NotEct, Ect0, Ect1, Ce } = ecn.Ecn
const DROPPED = -1
/** RFC 6040 figure 4: inner, then what it becomes by Not-ECT, ECT(0), ECT(1) and CE outside. */
const FIGURE_4 = [
  [NotEct, NotEct, NotEct, NotEct, DROPPED],
  [Ect0, Ect0, Ect0, Ect1, Ce],
  [Ect1, Ect1, Ect1, Ect1, Ce],
  [Ce, Ce, Ce, Ce, Ce],
] as const

for (const [inner, ...row] of FIGURE_4) {
  for (const [i, outer] of [NotEct, Ect0, Ect1, Ce].entries()) {
    test(`ECN ${inner} inside and ${outer} outside becomes ${row[i]}`, () => {
      const tos = 0xb8 | inner
      const four = frame(HOST_MAC, ip4({ ...V4, tos }, udp(V4, { to: 1 }, pattern(9)).slice(20)))
      const six = frame(HOST_MAC, ip6(V6, pattern(8)))
      six[14] = 0x60 | (tos >>> 4)
      six[15] = (tos & 15) << 4
      for (const bytes of [four, six]) {
        expect(ecn.innerTos(bytes, 0, bytes.length)).toBe(tos)
        const passes = ecn.unite(bytes, 0, bytes.length, 0x20 | outer)
        expect(passes).toBe(row[i] !== DROPPED)
        const after = passes ? 0xb8 | row[i]! : tos
        expect(ecn.innerTos(bytes, 0, bytes.length)).toBe(after)
      }
      expect(sum(four, 14, 20)).toBe(0xffff)
    })
  }
}

test('the outer TOS has the mark of the inner, and its own or the inner DSCP', () => {
  expect(ecn.outerTos(0xb8 | Ce, 0)).toBe(Ce)
  expect(ecn.outerTos(0xb8 | Ect0, 46)).toBe(0xb8 | Ect0)
  expect(ecn.outerTos(0x28 | Ect1, -1)).toBe(0x28 | Ect1)
  expect(ecn.outerTos(ecn.NO_TOS, -1)).toBe(0)
  expect(ecn.outerTos(ecn.NO_TOS, 46)).toBe(0xb8)
})

test('a frame without an IP header has no TOS, however it is cut', () => {
  const whole = frame(HOST_MAC, ip4({ ...V4, tos: 3 }, pattern(4)))
  for (let bytes = 14; bytes < 34; bytes++) {
    expect(ecn.innerTos(whole, 0, bytes)).toBe(ecn.NO_TOS)
    expect(ecn.unite(whole.slice(), 0, bytes, Ce)).toBe(true)
  }
  const tagged = Uint8Array.from([...whole.slice(0, 12), 0x81, 0, 0, 5, ...whole.slice(12)])
  expect(ecn.innerTos(tagged, 0, tagged.length)).toBe(3)
})
