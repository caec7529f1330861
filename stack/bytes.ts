/**
 * Network-order access to raw memory: the one file that decides how bytes become integers.
 *
 * Every function is total for offsets inside `mem`; bounds are the caller's business and are
 * asked once per header by its `isHeader` predicate. Results are unsigned.
 */

export function u8(mem: Uint8Array, at: number): number {
  return mem[at]!
}

export function u16(mem: Uint8Array, at: number): number {
  return (mem[at]! << 8) | mem[at + 1]!
}

/** `>>> 0` keeps values from 2³¹ upwards (addresses from 128.0.0.0) positive. */
export function u32(mem: Uint8Array, at: number): number {
  return ((mem[at]! << 24) | (mem[at + 1]! << 16) | (mem[at + 2]! << 8) | mem[at + 3]!) >>> 0
}

/** As {@link u32}, but signed: what table keys and typed arrays hold, without a heap number. */
export function i32(mem: Uint8Array, at: number): number {
  return (mem[at]! << 24) | (mem[at + 1]! << 16) | (mem[at + 2]! << 8) | mem[at + 3]!
}

export function put16(mem: Uint8Array, at: number, value: number): void {
  mem[at] = value >>> 8
  mem[at + 1] = value
}

export function put32(mem: Uint8Array, at: number, value: number): void {
  mem[at] = value >>> 24
  mem[at + 1] = value >>> 16
  mem[at + 2] = value >>> 8
  mem[at + 3] = value
}

/** Little-endian, for host structures such as the virtio-net header. */
export function u16le(mem: Uint8Array, at: number): number {
  return mem[at]! | (mem[at + 1]! << 8)
}

export function put16le(mem: Uint8Array, at: number, value: number): void {
  mem[at] = value
  mem[at + 1] = value >>> 8
}

/** Longest run copied byte by byte; above it `copyWithin`'s call cost is paid back. */
const LOOP_BYTES = 32

/** Copy `bytes` octets inside `mem`; the ranges may overlap. */
export function copy(mem: Uint8Array, to: number, from: number, bytes: number): void {
  if (bytes > LOOP_BYTES) mem.copyWithin(to, from, from + bytes)
  else if (to <= from) for (let i = 0; i < bytes; i++) mem[to + i] = mem[from + i]!
  else for (let i = bytes - 1; i >= 0; i--) mem[to + i] = mem[from + i]!
}

/** True if `bytes` octets at `a` and `b` are the same. */
export function equal(mem: Uint8Array, a: number, b: number, bytes: number): boolean {
  for (let i = 0; i < bytes; i++) if (mem[a + i] !== mem[b + i]) return false
  return true
}

/** Copy all of `source` to `mem` at `at`. */
export function putBytes(mem: Uint8Array, at: number, source: Uint8Array): void {
  for (let i = 0; i < source.length; i++) mem[at + i] = source[i]!
}

/** Set `bytes` octets to zero. */
export function zero(mem: Uint8Array, at: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) mem[at + i] = 0
}
