/** Rates as a person would write them: `10mbit/s and 5000 packets/s, bursts of 250 ms`. */
import type { RateSpec } from '../stack/ip/rate_limit.ts'

const UNITS = ['', 'k', 'm', 'g', 't']

export function formatRate({ bitsPerS, packetsPerS, burstMs }: RateSpec): string {
  const parts = [
    ...(bitsPerS === undefined ? [] : [`${formatBits(bitsPerS)}/s`]),
    ...(packetsPerS === undefined ? [] : [`${packetsPerS} packets/s`]),
  ]
  return `${parts.join(' and ')}, bursts of ${burstMs} ms`
}

/** `10mbit`: in the largest unit that it is a whole number of. */
function formatBits(bits: number): string {
  let unit = 0
  let count = bits
  while (unit + 1 < UNITS.length && count % 1000 === 0) {
    count /= 1000
    unit++
  }
  return `${count}${UNITS[unit]}bit`
}
