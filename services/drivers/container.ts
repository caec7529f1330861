/**
 * Driver `container`: its sandboxes have the stack of another sandbox, whose interfaces are also
 * theirs.
 *
 * The node makes sandboxes (`SandboxState.stack`); this driver has no network to build and no
 * interface to give.
 */
import type { NetworkDriver } from './driver.ts'

export class ContainerDriver implements NetworkDriver {
  readonly name = 'container'

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
