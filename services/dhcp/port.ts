/**
 * UDP port 67 of the router, which the servers of all networks share: a datagram is for the server
 * of the network that it came from.
 */

import type { Router } from '../../stack/ip/router.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import type { Packet } from '../../stack/packet.ts'
import { SERVER_PORT } from '../../stack/udp/dhcp.ts'

interface Receiver {
  receive(packet: Packet): void
}

export class DhcpPort {
  readonly #router: Router
  readonly #servers = new Map<RouterInterface, Receiver>()
  #unbind: (() => void) | undefined

  constructor(router: Router) {
    this.#router = router
  }

  /** @throws StackError `exists` if something else has the port. */
  add(leg: RouterInterface, server: Receiver): void {
    this.#unbind ??= this.#router.bindUdp(
      SERVER_PORT,
      (packet, from) => this.#servers.get(from)!.receive(packet),
      (_, from) => this.#servers.has(from),
    )
    this.#servers.set(leg, server)
  }

  /** Idempotent. */
  remove(leg: RouterInterface): void {
    this.#servers.delete(leg)
    if (this.#servers.size > 0) return
    this.#unbind?.()
    this.#unbind = undefined
  }
}
