/**
 * Driver `host`: its sandboxes have the stack of the host itself; tapline makes nothing and takes
 * no part in its traffic.
 *
 * The node makes sandboxes (`SandboxState.stack`); this driver has no network to build and no
 * interface to give.
 */
import type { NetworkDriver } from './driver.ts'

export class HostDriver implements NetworkDriver {
  readonly name = 'host'

  createNetwork(): void {}

  deleteNetwork(): void {}

  createEndpoint(): void {}

  deleteEndpoint(): void {}

  async join(): Promise<void> {}

  leave(): void {}

  network(): undefined {
    return undefined
  }
}
