/**
 * How to look at a few places of a table so that no long row of like ones is in the way: places
 * that lie apart by about the golden part of the table, and that come to all of them in the end.
 */
const GOLDEN = 0.618034

/** The step from one place to the next, modulo `size`: without a common divisor with it. */
export function strideOf(size: number): number {
  let stride = Math.max(1, Math.round(size * GOLDEN))
  while (divisor(stride, size) > 1) stride++
  return stride
}

function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b)
}
