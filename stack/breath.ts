/** The unit of work of devices that no engine drives: inhale from every one, exhale every queue. */
import type { Device } from './device.ts'

/** Poll all devices, then flush all. Returns how many frames were moved. */
export function breathe(devices: Iterable<Device>, budget: number): number {
  let moved = 0
  for (const device of devices) moved += device.poll(budget)
  for (const device of devices) device.flush()
  return moved
}
