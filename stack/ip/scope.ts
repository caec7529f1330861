/**
 * Kinds of addresses that a router treats apart (RFC 1812 §5.3.7, RFC 6890, RFC 4291 §2).
 *
 * ```text
 *  0.0.0.0/8 127.0.0.0/8 240.0.0.0/4    martian       ::/96 (with :: and ::1) ::ffff:0:0/96
 *  224.0.0.0/4                          multicast     ff00::/8
 *  169.254.0.0/16                       link-local    fe80::/10
 *  255.255.255.255                      broadcast
 * ```
 * Documentation and benchmarking ranges are routed: laboratories use them.
 */
import { i32, u8 } from '../bytes.ts'

export const Scope = { Unicast: 0, LinkLocal: 1, Multicast: 2, Broadcast: 3, Martian: 4 } as const

/** Of the IPv4 address at `at`. */
export function scope4(mem: Uint8Array, at: number): number {
  const first = u8(mem, at)
  if (first >= 224) {
    if (first < 240) return Scope.Multicast
    return i32(mem, at) === -1 ? Scope.Broadcast : Scope.Martian
  }
  if (first === 0 || first === 127) return Scope.Martian
  return first === 169 && u8(mem, at + 1) === 254 ? Scope.LinkLocal : Scope.Unicast
}

/** Of the IPv6 address at `at`. */
export function scope6(mem: Uint8Array, at: number): number {
  const first = u8(mem, at)
  if (first === 0xff) return Scope.Multicast
  if (first === 0xfe && (u8(mem, at + 1) & 0xc0) === 0x80) return Scope.LinkLocal
  if (first !== 0 || i32(mem, at) !== 0 || i32(mem, at + 4) !== 0) return Scope.Unicast
  const third = i32(mem, at + 8)
  return third === 0 || third === 0xffff ? Scope.Martian : Scope.Unicast
}
