/** What systems have in common that stand between two veth pairs, in a namespace of their own. */
import { addAddress, adopt, INTERFACE, setLink, setSysctl } from '../netns.ts'
import { runSync } from '../shell.ts'
import {
  CLIENT,
  CLIENT_GATEWAY,
  OUTER_ADDRESS,
  OUTSIDE,
  type Place,
  ROUTED_SERVER,
  SERVER_GATEWAY,
} from './peer.ts'

/** A pair of which one side stays in the middle as `name`, and the other becomes an end's. */
export function addPair(
  { middle }: Place,
  name: string,
  { netns, address }: { netns: string; address: string },
): void {
  const pair = ['type', 'veth', 'peer', 'name', 'far']
  runSync(['ip', '-n', middle, 'link', 'add', 'dev', name, ...pair])
  adopt('far', { from: middle, to: netns, address: `${address}/24` })
  setLink(middle, name, 'up')
}

export function addDefaultRoute(netns: string, via: string, link: string = INTERFACE): void {
  runSync(['ip', '-n', netns, 'route', 'add', 'default', 'via', via, 'dev', link])
}

/** `left` and `right` to the ends, in two subnets, with the middle as each one's gateway. */
export function addRoutedPairs(place: Place): void {
  const { client, server, middle } = place
  addPair(place, 'left', { netns: client, address: CLIENT })
  addPair(place, 'right', { netns: server, address: ROUTED_SERVER })
  addAddress(middle, 'left', `${CLIENT_GATEWAY}/24`)
  addAddress(middle, 'right', `${SERVER_GATEWAY}/24`)
  addDefaultRoute(client, CLIENT_GATEWAY)
  addDefaultRoute(server, SERVER_GATEWAY)
}

/** `right` as the uplink of the middle to the server, which knows nothing of what is behind. */
export function addUplink(place: Place): void {
  const { server, middle } = place
  addPair(place, 'right', { netns: server, address: OUTSIDE })
  addAddress(middle, 'right', `${OUTER_ADDRESS}/24`)
  addDefaultRoute(middle, OUTSIDE, 'right')
}

export function forward(netns: string): void {
  setSysctl(netns, 'net.ipv4.ip_forward', '1')
}
