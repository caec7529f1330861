/** What drivers give, for whoever asks whether a network has it. */
import { type DriverName, isBridged } from './model.ts'

/** Its sandboxes have interfaces with addresses. */
export function hasInterfaces(driver: DriverName): boolean {
  return isBridged(driver) || driver === 'macvlan'
}
