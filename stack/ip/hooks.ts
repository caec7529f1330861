/**
 * Where the router lets somebody else look at a packet, and change it: the seam between routing
 * and what keeps state of connections (nat.ts), at the points that netfilter made familiar.
 *
 * ```text
 *   ingress: checked -> prerouting -> route -+-> forward: hops, size -> postrouting -> egress
 *                                            +-> local
 * ```
 *
 * `Packet.flow` goes from one hook to the next: {@link NO_FLOW} for packets that are not tracked.
 * Destinations are translated before routing and sources after it, in both directions of a
 * connection; so routing, hop limit and MTU see what the far side will see.
 *
 * A hook returns false when it took the packet: dropped it with a reason, or answered it.
 */
import type { Packet } from '../packet.ts'
import type { Fib } from './fib.ts'
import type { RouterInterface } from './router_interface.ts'

/** What whoever makes hooks is given of the router. */
export interface HookParts {
  readonly fib4: Fib
  readonly fib6: Fib
  /** See `Local.serves`. Not before the router is made. */
  readonly serves: (from: RouterInterface, packet: Packet, protocol: number, at: number) => boolean
}

export interface Hooks {
  /** `head` at the Ethernet header; the IP header is checked, padding cut. */
  prerouting(from: RouterInterface, packet: Packet): boolean
  /** `head` at the IP header; the packet is about to leave through `out`. */
  postrouting(from: RouterInterface, out: RouterInterface, packet: Packet): boolean
  /** True if this may pass although one is internal, or both are separate; asked before hops. */
  admits(from: RouterInterface, out: RouterInterface, packet: Packet): boolean
  /** Give a packet that must be refused the addresses it came with, so that it is quoted so. */
  restore(packet: Packet): void
  /** True if this tuple's destination, an own address, leads elsewhere. Left out: none does. */
  reserves?(tuple: Int32Array): boolean
}

/** A router that keeps no state. */
export const NO_HOOKS: Hooks = {
  prerouting: () => true,
  postrouting: () => true,
  admits: () => false,
  restore: () => {},
}
