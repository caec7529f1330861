/** What drivers give, for whoever asks whether a network has it. */
import { type DriverName, isBridged, type NetworkConfig } from './model.ts'

/** The node is its gateway: it routes, translates, publishes and answers for names there. */
export function hasGateway({ driver, options }: NetworkConfig): boolean {
  return isBridged(driver) && options.gateway
}

/** Its sandboxes have interfaces with addresses. */
export function hasInterfaces(driver: DriverName): boolean {
  return isBridged(driver) || driver === 'macvlan'
}
