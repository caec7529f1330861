/** A configuration as plain text values, so that a snapshot of it can be read. */
import { formatAddress, formatPrefix } from '../../stack/address.ts'
import { formatMac } from '../../stack/eth/mac.ts'

/** Addresses, prefixes and MACs as text, everything else as it is. */
export function formatConfig(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(formatConfig)
  if (typeof value !== 'object' || value === null) return value
  if ('words' in value) return formatAddress(value as never)
  if ('address' in value && 'bits' in value) return formatPrefix(value as never)
  if ('hi' in value && 'lo' in value) return formatMac(value as never)
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, formatConfig(part)]))
}
