/**
 * The seam between the controller and whatever sandboxes are made of: TAPs in network namespaces
 * (taps.ts), or cables to hosts in memory (fabric/). The controller says what an interface must
 * look like inside the sandbox; the implementation makes it so and hands back our end as a device.
 */
import type { Address, Family, Prefix } from '../stack/address.ts'
import type { Device } from '../stack/device.ts'
import type { Mac } from '../stack/eth/mac.ts'
import type { Underlay } from '../stack/udp/underlay.ts'
import type { MakeCipher } from '../stack/vxlan/seal.ts'
import type { Log } from './log.ts'

/**
 * Frames that the kernel queues towards us. TCP fills a receiver's window (some 6 MB) before it
 * hears of loss: at 1,500 octets a frame that takes 4,096 places, as super-frames a quarter.
 */
const QUEUE_PLAIN = 4096
const QUEUE_SUPER = 1000

export function queueLength(superFrames: boolean): number {
  return superFrames ? QUEUE_SUPER : QUEUE_PLAIN
}

export interface LinkRoute {
  readonly destination: Prefix
  readonly via: Address
}

/** A route of the machine that an interface is of; see netlink.ts. */
export interface InsideRoute {
  readonly destination: Prefix
  /** Left out: the destination is on the link. */
  readonly via?: Address
  /** What the machine itself speaks from; left out: it chooses. */
  readonly source?: Address
}

/** What an interface has that may be exchanged while it stays. */
export interface Inside {
  readonly addresses: readonly Prefix[]
  readonly routes: readonly InsideRoute[]
}

/** What an interface has inside its namespace; see inside.ts. */
export interface FoundInside {
  readonly up: boolean
  /** With bits; none while it is down. */
  readonly addresses: readonly string[]
  /** Families that it has a default route of. */
  readonly defaultRoutes: readonly (4 | 6)[]
}

/** The network namespace that the thread is in: the process's own. */
export const OWN_NETNS = '/proc/thread-self/ns/net'

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
  readonly txQueueLen?: number | undefined
  /** False: plain frames of at most the MTU, checksums complete. */
  readonly offload: boolean
  /** Segments of a super-frame that the sandbox may send; left out: as many as there may be. */
  readonly segmentsMax?: number
  /**
   * Left out: the interface is made in `netns`, configured and up. Else it is left under this name
   * in the namespace of the process, without addresses and down, for somebody else to move to
   * `netns` and to configure, as Docker does. It outlives us: one that is there already, here or
   * there, is taken up again as it is.
   */
  readonly handOver?: string
}

/** An interface that is there already, and stays as it is. */
export interface BorrowRequest {
  /** With a VLAN, as `eth0.10`, unless there is an interface of that very name. */
  readonly interfaceName: string
  /** As in {@link LinkRequest}; left out: the namespace that the process is in. */
  readonly netns: string | undefined
  readonly deviceName: string
  /** The stations that we are on it, beside its own. */
  readonly stations: readonly Mac[]
  /** Hear also what is for no station of ours; see packet_socket.ts. */
  readonly everything: boolean
}

export interface Borrowed {
  readonly device: Device
  /** The interface's own MAC. */
  readonly mac: Mac
  /** Exchange the stations that we are. @throws StackError. */
  readonly setStations: (stations: readonly Mac[]) => void
}

/** What a TAP on the host needs to be the host's way to the router. */
export interface HostRequest {
  /** Of the table of rules that is ours on the host. */
  readonly table: string
  readonly deviceName: string
  /** Of the host's end. */
  readonly mac: Mac
  readonly mtuBytes: number
  /** The transfer net: the router's addresses, and the host's. */
  readonly addresses: readonly Prefix[]
  readonly peerAddresses: readonly Prefix[]
  /** Called when the TAP is there: have what the host forwards to it accepted. */
  readonly accept?: AcceptForwarded | undefined
  readonly log: Log
}

/** Have a firewall of the host's let through what comes from and goes to an interface. */
export type AcceptForwarded = (interfaceName: string) => Promise<void>

/** Ports of the host that lead to the router. */
export interface HostPort {
  readonly protocol: 6 | 17 | 132
  readonly family: Family
  /** Undefined: every address of the host. */
  readonly address: Address | undefined
  readonly port: number
  readonly count: number
}

/** The host as the outside of the router; see host/gateway.ts. */
export interface HostSide {
  readonly device: Device
  readonly interfaceName: string
  /** The host's addresses now, but those that mean nothing to sandboxes. */
  addresses(): Address[]
  /** Where a port of the host leads to now; undefined: to the host itself. */
  leads(asked: Pick<HostPort, 'protocol' | 'port'> & { address: Address }): Address | undefined
  /** Where the router hears what is asked of `address`. @throws StackError `exhausted`. */
  standIn(address: Address): Address
  /**
   * All or none of them, at the next {@link settle}.
   *
   * @throws StackError `exists`: another program has one of the ports; `exhausted`.
   */
  publish(ports: readonly HostPort[]): void
  unpublish(ports: readonly HostPort[]): void
  /** Have the host do what was published and taken away. @throws StackError. */
  settle(): Promise<void>
  /** Put the host back as it was; the device is the caller's to detach. */
  close(): Promise<void>
}

/** Where a node's tunnels end. */
export interface UnderlayRequest {
  readonly address: Address
  readonly udpPort: number
  /** Undefined: whichever interface the host's routes say. */
  readonly interfaceName: string | undefined
  /** Largest outer IP packet where nothing smaller is known of a path. */
  readonly mtuBytes: number
  /** Of outer packets; left out: the host's, and 1 to multicast groups. */
  readonly hopLimit?: number | undefined
  readonly log: Log
}

/**
 * There to be taken up again, wherever it is by now; gone, while its namespace is there; or its
 * namespace is gone, whether somebody has saved the interface from that or not.
 */
export type HandedOverFate = 'there' | 'lost' | 'ended'

/** Interfaces that are handed over, and outlive us; see handed_over.ts. */
export interface HandedOverLinks {
  /**
   * What became of one while no process of ours ran. One that is there is looked for when it is
   * attached. @throws if that cannot be told now.
   */
  fate(name: string, netns: string): HandedOverFate
  /** From now on, leave them where they are when they are detached. */
  leave(): void
  /**
   * While `work` runs, leave those of another process that it takes up and detaches again: what
   * fails is tried again.
   */
  keeping<T>(work: () => Promise<T>): Promise<T>
  /**
   * Remove those that were never moved away, nor are in use: their names. None but those that were
   * found to be there is looked for in a sandbox after that.
   */
  removeUnclaimed(isOurs: (name: string) => boolean): string[]
}

export interface Links {
  /** `tap` or `memory`, and the engine in use, for people: `tap (io_uring)`. */
  readonly describe: string
  /** Make the sandbox (idempotent; a sandbox without networks has only loopback). */
  prepare(sandbox: { readonly name: string; readonly netns: string }): void
  /** True if `prepare` made this namespace or took it over. Left out: there are none. */
  made?(netns: string): boolean
  /** Make the interface: configured and up on return. @throws StackError, and leaves nothing. */
  attach(request: LinkRequest): Device | Promise<Device>
  /** Take part in the traffic of an interface. @throws StackError, `unsupported` in memory. */
  borrow(request: BorrowRequest): Borrowed
  /**
   * Exchange addresses and routes of an interface that `attach` made. Left out: they stay as they
   * are. @throws StackError.
   */
  readdress?(device: Device, inside: Inside): void
  /**
   * True if the interface is in a namespace that lives, but whose name is gone or leads to another
   * one by now. Left out: never.
   */
  isAstray?(device: Device): boolean
  /** Addresses of an interface that is there already; none if it is not. */
  addressesOf?(place: Pick<BorrowRequest, 'interfaceName' | 'netns'>): Address[]
  /**
   * What an interface has now, whoever has set it; undefined: it is not there. Left out: there is
   * no inside to look at. @throws StackError if there is no such namespace.
   */
  lookInside?(netns: string, interfaceName: string): FoundInside | undefined
  /** Remove one interface, or give a borrowed one back: closes the device too. */
  detach(device: Device): void
  /**
   * Descriptor of a new TCP socket in a sandbox's stack, not connected; the caller closes it. Left
   * out: there are no kernel stacks. @throws StackError.
   */
  openSocket?(netns: string, family: 4 | 6): number
  /** Lead the host's traffic to a TAP. Left out: there is no host. @throws StackError. */
  openHost?(request: HostRequest): Promise<HostSide>
  /**
   * A UDP socket of the host's for tunnels; whoever asked closes it, before the links. Left out:
   * this kind of links has no host, and no overlay networks. @throws StackError: `exists` if the
   * port is taken.
   */
  openUnderlay?(request: UnderlayRequest): Underlay
  /** For its tunnels, in this kind's packet memory. Left out: any will do. */
  readonly makeCipher?: MakeCipher | undefined
  /** Left out: no interface outlives us. */
  readonly handedOver?: HandedOverLinks
  /** Remove the sandbox, if `prepare` made it. Idempotent. */
  release(sandbox: { readonly name: string; readonly netns: string }): void
  /** Give everything back that is left. */
  close(): void
}
