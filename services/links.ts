/**
 * The seam between the controller and whatever sandboxes are made of: TAPs in network namespaces
 * (taps.ts), or cables to hosts in memory (fabric/). The controller says what an interface must
 * look like inside the sandbox; the implementation makes it so and hands back our end as a device.
 */
import type { Address, Prefix } from '../stack/address.ts'
import type { Device } from '../stack/device.ts'
import type { Mac } from '../stack/eth/mac.ts'

export interface LinkRoute {
  readonly destination: Prefix
  readonly via: Address
}

/** One interface of one sandbox, as it must look from inside. */
export interface LinkRequest {
  readonly sandbox: string
  /** `name` under /var/run/netns, `pid:N`, or a path. Made when missing and a plain name. */
  readonly netns: string
  /** `eth0`, `eth1`, ... */
  readonly interfaceName: string
  /** Name of the device on our side, for listings: `web1/eth0`. */
  readonly deviceName: string
  readonly mac: Mac
  readonly mtuBytes: number
  readonly addresses: readonly Prefix[]
  /** Default and static routes inside the sandbox. */
  readonly routes: readonly LinkRoute[]
  /** Frames the kernel may queue towards us; left out: chosen from MTU and offloads. */
  readonly txQueueLen?: number
  /** False: plain frames of at most the MTU, checksums complete. */
  readonly offload: boolean
}

/** An interface that is there already, and stays as it is. */
export interface BorrowRequest {
  readonly interfaceName: string
  /** As in {@link LinkRequest}; left out: the namespace that the process is in. */
  readonly netns: string | undefined
  readonly deviceName: string
  /** The station that we are on it, beside its own. */
  readonly mac: Mac
}

export interface Links {
  /** `tap` or `memory`, and the engine in use, for people: `tap (io_uring)`. */
  readonly describe: string
  /** Make the sandbox (idempotent; a sandbox without networks has only loopback). */
  prepare(sandbox: { readonly name: string; readonly netns: string }): void
  /** Make the interface: configured and up on return. @throws StackError, and leaves nothing. */
  attach(request: LinkRequest): Device | Promise<Device>
  /** Take part in the traffic of an interface. @throws StackError, `unsupported` in memory. */
  borrow(request: BorrowRequest): Device
  /** Remove one interface, or give a borrowed one back: closes the device too. */
  detach(device: Device): void
  /**
   * Descriptor of a new TCP socket in a sandbox's stack, not connected; the caller closes it. Left
   * out: there are no kernel stacks. @throws StackError.
   */
  openSocket?(netns: string, family: 4 | 6): number
  /** Remove the sandbox, if `prepare` made it. Idempotent. */
  release(sandbox: { readonly name: string; readonly netns: string }): void
  /** Give everything back that is left. */
  close(): void
}
