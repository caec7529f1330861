/**
 * MAC addresses of one network. As Docker does, 02:42 and the IPv4 address, so that a MAC tells
 * whose it is; where there is no IPv4, 02:42 and a hash of the IPv6 address.
 */
import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import { type Address, formatAddress } from '../stack/address.ts'
import type { Mac } from '../stack/eth/mac.ts'

export class MacPool {
  readonly #taken = new Set<number>()

  take(mac: Mac): void {
    this.#taken.add(key(mac))
  }

  has(mac: Mac): boolean {
    return this.#taken.has(key(mac))
  }

  derive(address: Address): Mac {
    const lo =
      address.family === 4
        ? address.words[3]! >>> 0
        : createHash('sha256').update(formatAddress(address)).digest().readUInt32BE(0)
    return this.#free(lo)
  }

  /** Of a name, unlike on other machines: the network outside may have them too. */
  named(name: string): Mac {
    return this.#free(hashOf(name))
  }

  #free(lo: number): Mac {
    let mac: Mac = { hi: 0x0242, lo }
    while (this.#taken.has(key(mac))) mac = { hi: 0x0242, lo: (mac.lo + 1) >>> 0 }
    this.take(mac)
    return mac
  }
}

/** What a name is on this machine: where no address tells. */
function hashOf(name: string): number {
  return createHash('sha256').update(`${hostname()} ${name}`).digest().readUInt32BE(0)
}

/** Of the gateway that every node of an overlay network has: `VX`, and the VNI. */
export function sharedMac(vni: number): Mac {
  return { hi: 0x0256, lo: 0x5800_0000 | vni }
}

/** What one node is seen as by the others: its routed frames come from it. */
export function nodeMac(vtep: Address): Mac {
  const { words } = vtep
  const lo = vtep.family === 4 ? words[3]! : words[0]! ^ words[1]! ^ words[2]! ^ words[3]!
  return { hi: 0x024e, lo: lo >>> 0 }
}

/** Both halves as one number, below 2⁴⁸. */
function key({ hi, lo }: Mac): number {
  return hi * 0x1_0000_0000 + (lo >>> 0)
}
