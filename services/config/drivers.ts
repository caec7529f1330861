/** What drivers give, for whoever asks whether a network has it. */
import type { DriverName } from './model.ts'

/** Its sandboxes have interfaces with addresses. */
export function hasInterfaces(driver: DriverName): boolean {
  return driver === 'bridge' || driver === 'macvlan'
}
