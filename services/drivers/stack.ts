/**
 * Drivers without a network of their own. They say whose stack a sandbox has:
 *
 * | driver | the stack of its sandboxes |
 * |---|---|
 * | `null` | one with nothing but loopback |
 * | `host` | the host's own; tapline makes nothing and takes no part in its traffic |
 * | `container` | another sandbox's, whose interfaces are also theirs |
 *
 * The node makes the sandboxes (`SandboxState.stack`); here is no network to build and no interface
 * to give, so every verb has nothing to do.
 */
import type { NetworkDriver } from './driver.ts'

export class StackDriver implements NetworkDriver {
  readonly name: 'null' | 'host' | 'container'

  constructor(name: 'null' | 'host' | 'container') {
    this.name = name
  }

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
