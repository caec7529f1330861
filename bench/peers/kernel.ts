/**
 * The kernel's own network, the bar for bulk transfers: veth pairs into a bridge, into a namespace
 * that forwards, or into one that translates. The middle is a namespace of its own: in the host's,
 * the firewall of a Docker daemon (br_netfilter) would be measured with it.
 */
import { writeFileSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import { addAddress, inNetns, setLink } from '../netns.ts'
import { runSync } from '../shell.ts'
import {
  CLIENT,
  CLIENT_GATEWAY,
  IPERF_PORT,
  OUTER_ADDRESS,
  OUTSIDE,
  type Peer,
  ROUTED_SERVER,
  SWITCHED_SERVER,
} from './peer.ts'
import { addDefaultRoute, addPair, addRoutedPairs, addUplink, forward } from './veth.ts'

/** The namespaces take their interfaces with them. */
const close = (): Promise<void> => Promise.resolve()

export const kernelBridge: Peer = {
  title: 'kernel veth + bridge',
  tools: {},
  serverAddress: SWITCHED_SERVER,
  taps: false,
  open(place) {
    const { client, server, middle } = place
    runSync(['ip', '-n', middle, 'link', 'add', 'br0', 'type', 'bridge'])
    setLink(middle, 'br0', 'up')
    addPair(place, 'left', { netns: client, address: CLIENT })
    addPair(place, 'right', { netns: server, address: SWITCHED_SERVER })
    setLink(middle, 'left', 'master', 'br0')
    setLink(middle, 'right', 'master', 'br0')
    return Promise.resolve({ about: `Linux ${release()}, two veth pairs and a bridge`, close })
  },
}

export const kernelRoute: Peer = {
  title: 'kernel veth + routing',
  tools: {},
  serverAddress: ROUTED_SERVER,
  taps: false,
  open(place) {
    addRoutedPairs(place)
    forward(place.middle)
    return Promise.resolve({ about: `Linux ${release()}, two veth pairs and ip_forward`, close })
  },
}

/** As Docker arranges it, without its bridge. */
const RULES = `table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat
    ip daddr ${OUTER_ADDRESS} tcp dport ${IPERF_PORT} dnat to ${CLIENT}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "right" masquerade
  }
}
`

export const kernelNat: Peer = {
  title: 'kernel veth + NAT',
  tools: { nft: 'nftables' },
  serverAddress: OUTSIDE,
  inwardAddress: OUTER_ADDRESS,
  taps: false,
  open(place) {
    const { client, middle, folder } = place
    addPair(place, 'left', { netns: client, address: CLIENT })
    addAddress(middle, 'left', `${CLIENT_GATEWAY}/24`)
    addDefaultRoute(client, CLIENT_GATEWAY)
    addUplink(place)
    forward(middle)
    const file = join(folder, 'nat.nft')
    writeFileSync(file, RULES)
    runSync(inNetns(middle, ['nft', '-f', file]))
    const about = `Linux ${release()}, two veth pairs, nftables masquerade and dnat`
    return Promise.resolve({ about, close })
  },
}
