/**
 * rtnetlink (RFC 3549; rtnetlink(7)): links, addresses and routes of one namespace.
 *
 * Synchronously: each call takes some tens of microseconds. Bodies are ifinfomsg, 16 octets,
 * ifaddrmsg, 8, or rtmsg, 12; addresses are in network order.
 */
import { type Address, familyBits, type Prefix, toBytes } from '../address.ts'
import { StackError } from '../errors.ts'
import { attributesOf, Flag, Message } from './netlink_message.ts'
import { fail, NetlinkSocket } from './netlink_socket.ts'

const NETLINK_ROUTE = 0
const Type = {
  NewLink: 16,
  DelLink: 17,
  GetLink: 18,
  NewAddr: 20,
  DelAddr: 21,
  GetAddr: 22,
  NewRoute: 24,
  DelRoute: 25,
} as const
const Attribute = {
  LinkAddress: 1,
  LinkName: 3,
  LinkMtu: 4,
  LinkTxQueueLen: 13,
  LinkAlias: 20,
  LinkNetnsFd: 28,
  LinkGsoMaxSegs: 40,
  Address: 1,
  Local: 2,
  RouteDestination: 1,
  RouteOutput: 4,
  RouteGateway: 5,
  RoutePriority: 6,
  RouteSource: 7,
} as const
const AF_INET = 2
const AF_INET6 = 10
const IFF_UP = 1
/** The address is ours by decree: no duplicate address detection, usable at once. */
const IFA_F_NODAD = 0x02

const ENOENT = 2
const ESRCH = 3
const EEXIST = 17
const ENODEV = 19
const EADDRNOTAVAIL = 99

/** A unicast route by one link; without `via`, the destination is on it. */
export interface UnicastRoute {
  readonly destination: Prefix
  readonly via?: Address
  /** What the machine itself speaks from; left out: the kernel chooses. */
  readonly source?: Address
}

export interface LinkSettings {
  readonly name?: string
  /** Six octets. */
  readonly mac?: Uint8Array
  readonly mtuBytes?: number
  readonly txQueueLen?: number
  /** Segments of a super-frame that the kernel may send by it. */
  readonly segmentsMax?: number
  /** A text that stays with the link wherever it goes and whatever its name is. */
  readonly alias?: string
  readonly up?: boolean
}

export interface LinkInfo {
  readonly index: number
  readonly name: string
  readonly mtuBytes: number
  readonly up: boolean
  readonly mac: Uint8Array
  /** Empty: it has none. */
  readonly alias: string
}

export class Netlink {
  readonly #socket = new NetlinkSocket(NETLINK_ROUTE)

  /** The link of that name, or undefined. */
  link(name: string): LinkInfo | undefined {
    const message = new Message(Type.GetLink, 0)
    putLinkBody(message, 0, 0, 0)
    message.attribute(Attribute.LinkName, text(name))
    const { code, body } = this.#socket.exchange(message)
    if (code === -ENODEV) return undefined
    fail(code, `look up link ${name}`)
    return body === undefined ? undefined : parseLink(body)
  }

  /** Every link of the namespace. */
  links(): LinkInfo[] {
    const message = new Message(Type.GetLink, Flag.Dump)
    putLinkBody(message, 0, 0, 0)
    const found: LinkInfo[] = []
    const { code } = this.#socket.exchange(message, (body) => found.push(parseLink(body)))
    fail(code, 'list links')
    return found
  }

  /** Change a link; only what is given. */
  setLink(index: number, settings: LinkSettings): void {
    const message = new Message(Type.NewLink, 0)
    const flags = settings.up === true ? IFF_UP : 0
    putLinkBody(message, index, flags, settings.up === undefined ? 0 : IFF_UP)
    if (settings.name !== undefined) message.attribute(Attribute.LinkName, text(settings.name))
    if (settings.mac !== undefined) message.attribute(Attribute.LinkAddress, settings.mac)
    if (settings.mtuBytes !== undefined) message.attribute32(Attribute.LinkMtu, settings.mtuBytes)
    if (settings.txQueueLen !== undefined) {
      message.attribute32(Attribute.LinkTxQueueLen, settings.txQueueLen)
    }
    if (settings.segmentsMax !== undefined) {
      message.attribute32(Attribute.LinkGsoMaxSegs, settings.segmentsMax)
    }
    if (settings.alias !== undefined) message.attribute(Attribute.LinkAlias, text(settings.alias))
    fail(this.#socket.exchange(message).code, `configure link ${settings.name ?? index}`)
  }

  /**
   * Move a link to the namespace behind a descriptor, where it gets `name`. The kernel waits for
   * readers some 15 ms meanwhile, so this is done off the thread that carries packets.
   *
   * @throws StackError `exists`: that name is taken there.
   */
  async moveLink(index: number, to: { readonly netnsFd: number; name: string }): Promise<void> {
    const message = new Message(Type.NewLink, 0)
    putLinkBody(message, index, 0, 0)
    message.attribute(Attribute.LinkName, text(to.name))
    message.attribute32(Attribute.LinkNetnsFd, to.netnsFd)
    const { code } = await this.#socket.exchangeAway(message)
    if (code === -EEXIST) {
      const message = `there is an interface ${to.name} already where one is to be put`
      throw new StackError('exists', `${message}: another daemon's, or somebody else's`)
    }
    fail(code, `move link ${to.name}`)
  }

  deleteLink(index: number): void {
    const message = new Message(Type.DelLink, 0)
    putLinkBody(message, index, 0, 0)
    const { code } = this.#socket.exchange(message)
    if (code !== -ENODEV) fail(code, `delete link ${index}`)
  }

  /** Add an address, or leave it if it is there. Usable at once: no detection delay. */
  addAddress(index: number, prefix: Prefix): void {
    const message = new Message(Type.NewAddr, Flag.Create | Flag.Replace)
    message.u8(domain(prefix.address)).u8(prefix.bits).u8(IFA_F_NODAD).u8(0).u32(index)
    const bytes = toBytes(prefix.address)
    message.attribute(Attribute.Local, bytes).attribute(Attribute.Address, bytes)
    fail(this.#socket.exchange(message).code, 'add an address')
  }

  /** Index of the link that has an address; 0: none has. */
  linkWith(address: Address): number {
    const message = new Message(Type.GetAddr, Flag.Dump)
    message.u8(domain(address)).u8(0).u8(0).u8(0).u32(0)
    const wanted = toBytes(address)
    let found = 0
    const { code } = this.#socket.exchange(message, (body) => {
      const own = attributesOf(body, 8)
      const bytes = own.get(Attribute.Local) ?? own.get(Attribute.Address)
      if (bytes !== undefined && Buffer.compare(bytes, wanted) === 0) found = indexOf(body)
    })
    fail(code, 'list addresses')
    return found
  }

  /** Take an address away. Harmless if it is not there. */
  deleteAddress(index: number, { address, bits }: Prefix): void {
    const message = new Message(Type.DelAddr, 0)
    message.u8(domain(address)).u8(bits).u8(0).u8(0).u32(index)
    message.attribute(Attribute.Local, toBytes(address))
    const { code } = this.#socket.exchange(message)
    if (code !== -EADDRNOTAVAIL && code !== -ENODEV) fail(code, 'delete an address')
  }

  /** Add a unicast route, or replace it. */
  addRoute(index: number, route: UnicastRoute): void {
    const message = new Message(Type.NewRoute, Flag.Create | Flag.Replace)
    putRoute(message, index, route)
    fail(this.#socket.exchange(message).code, 'add a route')
  }

  /** Take a unicast route away. Harmless if it is not there. */
  deleteRoute(index: number, route: UnicastRoute): void {
    const message = new Message(Type.DelRoute, 0)
    putRoute(message, index, route)
    const { code } = this.#socket.exchange(message)
    if (![-ESRCH, -ENOENT, -ENODEV].includes(code)) fail(code, 'delete a route')
  }

  /**
   * Have what comes in by a link for `address` delivered here, where the kernel would only take it
   * from another link. `metric`: behind the kernel's own route.
   */
  addLocalRoute(
    index: number,
    route: { readonly address: Address; readonly metric: number },
  ): void {
    const { address, metric } = route
    const message = new Message(Type.NewRoute, Flag.Create | Flag.Replace)
    const [localTable, protocolStatic, scopeHost, local] = [255, 4, 254, 2]
    message.u8(domain(address)).u8(familyBits(address.family)).u8(0).u8(0)
    message.u8(localTable).u8(protocolStatic).u8(scopeHost).u8(local).u32(0)
    message.attribute(Attribute.RouteDestination, toBytes(address))
    message.attribute32(Attribute.RouteOutput, index)
    message.attribute32(Attribute.RoutePriority, metric)
    fail(this.#socket.exchange(message).code, 'add a local route')
  }

  close(): void {
    this.#socket.close()
  }
}

/** Run `work` with a socket in the namespace that the thread is in now. */
export function withNetlink<T>(work: (netlink: Netlink) => T): T {
  const netlink = new Netlink()
  try {
    return work(netlink)
  } finally {
    netlink.close()
  }
}

function putLinkBody(message: Message, index: number, flags: number, change: number): void {
  message.u8(0).u8(0).u16(0).u32(index).u32(flags).u32(change)
}

function putRoute(message: Message, index: number, route: UnicastRoute): void {
  const { destination, via, source } = route
  const [mainTable, protocolStatic, scopeLink, unicast] = [254, 4, 253, 1]
  message.u8(domain(destination.address)).u8(destination.bits).u8(0).u8(0)
  message.u8(mainTable).u8(protocolStatic)
  message
    .u8(via === undefined ? scopeLink : 0)
    .u8(unicast)
    .u32(0)
  if (destination.bits > 0) {
    message.attribute(Attribute.RouteDestination, toBytes(destination.address))
  }
  if (via !== undefined) message.attribute(Attribute.RouteGateway, toBytes(via))
  if (source !== undefined) message.attribute(Attribute.RouteSource, toBytes(source))
  message.attribute32(Attribute.RouteOutput, index)
}

function parseLink(body: Uint8Array): LinkInfo {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const attributes = attributesOf(body, 16)
  const mtu = attributes.get(Attribute.LinkMtu) ?? new Uint8Array(4)
  return {
    index: indexOf(body),
    name: string(attributes.get(Attribute.LinkName)),
    mtuBytes: new DataView(mtu.buffer, mtu.byteOffset).getUint32(0, true),
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
    mac: attributes.get(Attribute.LinkAddress) ?? new Uint8Array(6),
    alias: string(attributes.get(Attribute.LinkAlias)),
  }
}

/** Of an ifinfomsg or ifaddrmsg: both have it in the same place. */
function indexOf(body: Uint8Array): number {
  return new DataView(body.buffer, body.byteOffset, body.byteLength).getInt32(4, true)
}

function string(value: Uint8Array = new Uint8Array()): string {
  return new TextDecoder().decode(value).replace(/\0.*$/, '')
}

function domain(address: Address): number {
  return address.family === 4 ? AF_INET : AF_INET6
}

function text(name: string): Uint8Array {
  return new TextEncoder().encode(`${name}\0`)
}
