/** What a file says about several hosts, read and checked; the rest is in model.ts. */
import type { Address } from '../../stack/address.ts'
import type { Mac } from '../../stack/eth/mac.ts'

/** This host as one of several that share overlay networks. */
export interface NodeConfig {
  readonly name: string
  readonly underlay: UnderlayConfig
  /** Tunnel ends of other nodes, for networks that name none themselves. */
  readonly peers: readonly Address[]
  /** Undefined: other nodes are known from the file alone. */
  readonly gossip: GossipConfig | undefined
}

/** Where this node's tunnels end. */
export interface UnderlayConfig {
  readonly address: Address
  readonly udpPort: number
  /** Undefined: whichever the host's routes say. */
  readonly interfaceName: string | undefined
  /** Largest IP packet that the network between the nodes carries. */
  readonly mtuBytes: number
  /** Of outer packets; undefined: the host's, and 1 to multicast groups. */
  readonly hopLimit: number | undefined
  /** With the keys of encrypted networks, as keyring.ts has them; undefined: there are none. */
  readonly keysFile: string | undefined
}

export interface GossipConfig {
  readonly bind: HostPortConfig
  /** Where other nodes know this one; undefined: `bind`. */
  readonly advertise: HostPortConfig | undefined
  readonly join: readonly HostPortConfig[]
  /** With one base64 key a line, the first to seal with; undefined: in the clear. */
  readonly keysFile: string | undefined
  /** The same on every member; '': none. */
  readonly label: string
  /** How long endpoints of a node stay in force after it was taken for dead. */
  readonly endpointTimeoutMs: number
}

export interface HostPortConfig {
  /** An address, or in `join` also a name. */
  readonly host: string
  readonly port: number
}

/** What a network of driver `overlay` has beside the rest. */
export interface OverlayConfig {
  /** The same on every node. */
  readonly vni: number
  /** VLANs of its bridge that are overlay networks of their own. */
  readonly vlans: readonly VlanVni[]
  readonly peers: readonly Address[]
  readonly remote: readonly RemoteConfig[]
  /** Learn stations of other nodes from what they send. */
  readonly learning: boolean
  /** Multicast group of the underlay for what goes to all nodes; undefined: one copy a node. */
  readonly group: Address | undefined
  /** Outside; below 0: the inner packet's. */
  readonly dscp: number
  /** Nothing of it is on the underlay in the clear. */
  readonly encrypted: boolean
  /** Carry frames with a VLAN tag. */
  readonly innerVlan: boolean
}

export interface VlanVni {
  readonly vid: number
  readonly vni: number
}

/** An endpoint at another node. */
export interface RemoteConfig {
  readonly vtep: Address
  readonly mac: Mac
  readonly addresses: readonly Address[]
  readonly name: string
  /** Undefined: the network's own. */
  readonly vni: number | undefined
}
