/**
 * The kernel's own network, the bar for bulk transfers: veth pairs into a bridge, or into a
 * namespace that forwards. The middle is a namespace of its own: in the host's, the firewall of a
 * Docker daemon (br_netfilter) would be measured with it.
 */
import { release } from 'node:os'
import { addAddress, adopt, INTERFACE, inNetns, setLink } from '../netns.ts'
import { runSync } from '../shell.ts'
import {
  CLIENT,
  CLIENT_GATEWAY,
  type Peer,
  type Place,
  ROUTED_SERVER,
  SERVER_GATEWAY,
  SWITCHED_SERVER,
} from './peer.ts'

/** A veth pair to each end: `left` and `right` stay in the middle. */
function addPairs({ client, server, middle }: Place, serverAddress: string): void {
  const ends = [
    { name: 'left', to: client, address: `${CLIENT}/24` },
    { name: 'right', to: server, address: `${serverAddress}/24` },
  ]
  for (const { name, to, address } of ends) {
    const pair = ['type', 'veth', 'peer', 'name', 'far']
    runSync(['ip', '-n', middle, 'link', 'add', 'dev', name, ...pair])
    adopt('far', { from: middle, to, address })
    setLink(middle, name, 'up')
  }
}

/** The namespaces take their interfaces with them. */
const close = (): Promise<void> => Promise.resolve()

export const kernelBridge: Peer = {
  title: 'kernel veth + bridge',
  tools: {},
  serverAddress: SWITCHED_SERVER,
  taps: false,
  open(place) {
    const { middle } = place
    runSync(['ip', '-n', middle, 'link', 'add', 'br0', 'type', 'bridge'])
    setLink(middle, 'br0', 'up')
    addPairs(place, SWITCHED_SERVER)
    setLink(middle, 'left', 'master', 'br0')
    setLink(middle, 'right', 'master', 'br0')
    return Promise.resolve({ about: `Linux ${release()}, two veth pairs and a bridge`, close })
  },
}

export const kernelRoute: Peer = {
  title: 'kernel veth + routing',
  tools: { sysctl: 'procps' },
  serverAddress: ROUTED_SERVER,
  taps: false,
  open(place) {
    const { client, server, middle } = place
    addPairs(place, ROUTED_SERVER)
    addAddress(middle, 'left', `${CLIENT_GATEWAY}/24`)
    addAddress(middle, 'right', `${SERVER_GATEWAY}/24`)
    for (const [netns, via] of [
      [client, CLIENT_GATEWAY],
      [server, SERVER_GATEWAY],
    ] as const) {
      runSync(['ip', '-n', netns, 'route', 'add', 'default', 'via', via, 'dev', INTERFACE])
    }
    runSync(inNetns(middle, ['sysctl', '-qw', 'net.ipv4.ip_forward=1']))
    return Promise.resolve({ about: `Linux ${release()}, two veth pairs and ip_forward`, close })
  },
}
