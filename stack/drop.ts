/**
 * Why packets end undelivered. The list is a contract: names appear in `tapline drops`, in traces
 * and in docs/drops.md, and scripts match on them. Append; never rename.
 *
 * Each name goes with what happened and, in brackets, where an operator looks next.
 */
const LIST = [
  ['pool-empty', 'No packet memory was free for a copy or an answer (raise --pool).'],
  ['queue-full', 'A device had no room for another frame to send (receiver too slow).'],
  ['device-down', 'The frame was for a device that is lost, down or removed.'],
  ['frame-runt', 'Shorter than an Ethernet header.'],
  ['frame-oversize', 'Larger than the egress device can carry.'],
  ['frame-offload-bad', 'Offload facts of the frame contradict its length or headers.'],
  ['bridge-reserved-group', 'Sent to 01:80:c2:00:00:0x, which bridges do not forward.'],
  ['bridge-source-group', 'The source address is a group address, or all zeros.'],
  ['bridge-same-port', 'The destination is on the port that the frame came from.'],
  ['bridge-isolated', 'Both ports are isolated, or of one split-horizon group.'],
  ['bridge-no-port', 'Flooded, but there is no other port to send to.'],
  ['bridge-port-shut', 'The port was shut by the loop guard.'],
  ['bridge-loop', 'The station flapped between two ports; the newer port was shut.'],
  ['vlan-not-allowed', 'The frame has a VLAN that its port does not carry.'],
  ['mac-spoofed', 'The source MAC is not one that the port may use.'],
  ['storm-broadcast', 'Over the broadcast limit of the port.'],
  ['storm-multicast', 'Over the multicast limit of the port.'],
  ['storm-unknown', 'Over the unknown-unicast limit of the port.'],
  ['arp-malformed', 'Not a whole IPv4-over-Ethernet ARP message, or from no possible station.'],
  ['arp-spoofed', 'ARP or neighbor discovery that claims an address or a MAC of another station.'],
  ['nd-malformed', 'A neighbor-discovery message fails the checks of RFC 4861 §7.1.'],
  ['neighbor-failed', 'The next hop did not answer ARP or neighbor solicitation.'],
  ['neighbor-queue-full', 'Too many packets already wait for this neighbor.'],
  ['neighbor-table-full', 'No room for another neighbor.'],
  ['ip-malformed', 'Version, lengths or checksum of the IP header are wrong.'],
  ['ip-martian', 'Source or destination address that may not be routed (RFC 1812 §5.3.7).'],
  ['ip-spoofed', 'The source is not reachable through the network it came from.'],
  ['ip-options', 'Source-route or malformed options.'],
  ['ttl-exceeded', 'TTL or hop limit ran out; the sender was told.'],
  ['no-route', 'No route to the destination; the sender was told.'],
  ['route-blackhole', 'The route says discard.'],
  ['network-internal', 'From or to an internal network, which is not routed.'],
  ['mtu-exceeded', 'Too big for the next network and not to be fragmented; the sender was told.'],
  ['fragment-timeout', 'Not all fragments came in time.'],
  ['fragment-overlap', 'Fragments overlap (RFC 5722); the whole datagram is refused.'],
  ['fragment-table-full', 'Too many datagrams are being reassembled.'],
  ['fragment-malformed', 'A fragment with an impossible offset or length.'],
  ['icmp-malformed', 'An ICMP message that is too short or has a wrong checksum.'],
  ['icmp-rate-limited', 'An ICMP error was due but over its rate limit.'],
  ['not-for-us', 'Sent to the MAC of the router but not an IP packet it handles.'],
  ['port-unreachable', 'To an address of the router, but nothing listens; the sender was told.'],
  ['protocol-unreachable', 'To an address of the router with a protocol it does not speak.'],
  ['delivered', 'Consumed by the node itself: an answer was made or state was updated.'],
  ['link-lost', 'A cable in memory lost the frame on purpose (fault injection).'],
  ['trace-end', 'A traced packet reached its end.'],
  ['ip-multicast', 'Multicast that nothing here listens to; it is not routed between networks.'],
  ['ip-broadcast', 'Broadcast, or unicast in a group frame; neither is routed between networks.'],
  ['transport-malformed', 'A TCP or UDP header for the router is too short or its checksum wrong.'],
  ['router-spoofed', 'A router advertisement or redirect from an endpoint that is not a router.'],
  [
    'conntrack-invalid',
    'Belongs to no state of its connection, such as a TCP segment out of every window.',
  ],
  ['conntrack-full', 'No room for another connection, and none that could be forgotten.'],
  ['nat-ports-exhausted', 'Every port of the egress address is taken for this destination.'],
  ['not-published', 'New and from outside, to a sandbox that publishes no such port.'],
  ['no-backend', 'To a virtual address whose service has no backend that may take it.'],
  ['policy-denied', 'A rule of the network or endpoint denies it.'],
  ['rate-limited', 'Over the rate limit of the endpoint.'],
  ['vxlan-malformed', 'Not a VXLAN header with a VNI, or too short for one.'],
  ['vxlan-unknown-vni', 'For an overlay network that this node has no part in.'],
  ['vxlan-unknown-vtep', 'From a tunnel end that has no part in the overlay network it sends to.'],
  ['vxlan-inner-vlan', 'A VLAN tag inside a tunnel that does not carry tags.'],
  ['vxlan-gateway', "A gateway's own frame at a tunnel; every node has that gateway itself."],
  ['vxlan-ecn', 'Marked by a congested underlay, and the packet inside cannot say so.'],
  ['vxlan-no-peer', 'For another node, and no other node takes part in the overlay network.'],
  ['dns-malformed', 'To the name service, but no query that it could even refuse.'],
  ['group-no-member', 'To a multicast group that nobody here asked for (IGMP and MLD snooping).'],
  ['group-malformed', 'An IGMP or MLD message that is cut short, broken, or from elsewhere.'],
  ['underlay-mtu', 'Too big for the path to the other tunnel end (lower the MTU of the network).'],
  ['underlay-unreachable', 'The host has no way to the other tunnel end, or refuses to send.'],
  ['underlay-truncated', 'A datagram that was larger than any a tunnel may carry.'],
  ['seal-plain', 'In the clear, for an overlay network that is encrypted.'],
  ['seal-unexpected', 'Encrypted, for an overlay network that is not.'],
  ['seal-malformed', 'Too short for an encrypted datagram, or of no known kind.'],
  ['seal-unknown-key', 'Encrypted with a key that is not known here, or too many new senders.'],
  ['seal-forged', 'Does not open: changed on its way, or made by who has no key.'],
  ['seal-replayed', 'An encrypted datagram that was seen before, or is too old to tell.'],
  ['dhcp-malformed', 'To the DHCP server, but no request that a client would send.'],
  ['dhcp-limited', 'More DHCP requests than the server answers.'],
  ['reflected', 'A frame of an own station that came back from the parent interface.'],
  ['vxlan-own-source', 'Out of a tunnel, from the MAC of an endpoint that is on this node.'],
  ['network-separate', 'Between two networks that are both kept separate.'],
] as const

export type DropName = (typeof LIST)[number][0]

type Pascal<S extends string> = S extends `${infer A}-${infer B}`
  ? `${Capitalize<A>}${Pascal<B>}`
  : Capitalize<S>

/** `DropReason.PoolEmpty` and so on: the index of a reason, as counters and elements use it. */
export const DropReason: { readonly [N in DropName as Pascal<N>]: number } = Object.fromEntries(
  LIST.map(([name], index) => [pascal(name), index]),
) as { readonly [N in DropName as Pascal<N>]: number }

/** Names by index. */
export const DROP_NAMES: readonly DropName[] = LIST.map(([name]) => name)

/** What each reason means, by index. */
export const DROP_HELP: readonly string[] = LIST.map(([, help]) => help)

export const DROP_COUNT: number = LIST.length

function pascal(name: string): string {
  return name.replace(/(^|-)(\w)/g, (_, _dash: string, letter: string) => letter.toUpperCase())
}
