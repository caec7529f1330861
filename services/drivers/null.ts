/**
 * Driver `null`: its sandboxes have a stack with nothing but loopback.
 *
 * The node makes sandboxes (`SandboxState.stack`); this driver has no network to build and no
 * interface to give.
 */
import type { NetworkDriver } from './driver.ts'

export class NullDriver implements NetworkDriver {
  readonly name = 'null'

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
