/**
 * One line for a frame, in the words of tcpdump: what `tapline capture` prints without `-w`.
 *
 * Only what tells packets apart at a glance is said; Wireshark says the rest. Text is built per
 * packet, so this is for the side that reads a capture and never for the data path.
 */
import { formatAddress, fromBytes } from '../../stack/address.ts'
import * as arp from '../../stack/arp/message.ts'
import { i32, u8, u16, u32 } from '../../stack/bytes.ts'
import * as eth from '../../stack/eth/frame.ts'
import { formatMac, mac } from '../../stack/eth/mac.ts'
import * as icmp from '../../stack/ip/icmp.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import * as tcp from '../../stack/ip/tcp.ts'
import * as udp from '../../stack/ip/udp.ts'
import { Dissection } from './dissect.ts'

/** Offset of the window in a TCP header. */
const WINDOW = 14
const UNREACHABLE4 = ['net', 'host', 'protocol', 'port']
const NAMES4 = new Map<number, string>([
  [icmp.Type4.EchoReply, 'echo reply'],
  [icmp.Type4.Redirect, 'redirect'],
  [icmp.Type4.Echo, 'echo request'],
  [icmp.Type4.TimeExceeded, 'time exceeded'],
  [icmp.Type4.ParameterProblem, 'parameter problem'],
])
const UNREACHABLE6 = ['no route', 'administratively prohibited', 'beyond scope', 'address', 'port']
const NAMES6 = new Map<number, string>([
  [icmp.Type6.PacketTooBig, 'packet too big'],
  [icmp.Type6.TimeExceeded, 'time exceeded'],
  [icmp.Type6.ParameterProblem, 'parameter problem'],
  [icmp.Type6.Echo, 'echo request'],
  [icmp.Type6.EchoReply, 'echo reply'],
  [icmp.Type6.RouterSolicitation, 'router solicitation'],
  [icmp.Type6.RouterAdvertisement, 'router advertisement'],
  [icmp.Type6.NeighborSolicitation, 'neighbor solicitation'],
  [icmp.Type6.NeighborAdvertisement, 'neighbor advertisement'],
])
/** Flags of TCP in tcpdump's letters and order. */
const FLAGS: readonly [number, string][] = [
  [tcp.Flag.Fin, 'F'],
  [tcp.Flag.Syn, 'S'],
  [tcp.Flag.Rst, 'R'],
  [tcp.Flag.Psh, 'P'],
  [tcp.Flag.Ack, '.'],
]

const frame = new Dissection()

/** `IP 10.1.0.11.4242 > 10.1.0.12.80: Flags [S], seq 1, win 64240, length 0` and so on. */
export function summarize(mem: Uint8Array, at: number, bytes: number): string {
  frame.read(mem, at, bytes)
  if (frame.etherType < 0) return `runt, length ${bytes}`
  const tag = frame.vid >= 0 ? `vlan ${frame.vid}, ` : ''
  if (frame.etherType === eth.EtherType.Arp) return `${tag}${arpText()}`
  if (frame.family !== 0) return `${tag}${ipText()}`
  const source = formatMac(mac(mem, at + eth.SRC))
  const destination = formatMac(mac(mem, at + eth.DST))
  const type = frame.etherType.toString(16).padStart(4, '0')
  return `${tag}${source} > ${destination}, ethertype 0x${type}, length ${bytes}`
}

/** Octets captured from `at` on. */
function left(at: number): number {
  return frame.end - at
}

function addressAt(at: number, family: number): string {
  return formatAddress(fromBytes(frame.mem.slice(at, at + (family === 4 ? 4 : 16))))
}

function arpText(): string {
  const { mem, network } = frame
  if (!arp.isMessage(mem, network, left(network))) return `ARP, malformed, length ${left(network)}`
  const sender = addressAt(network + arp.SPA, 4)
  const target = addressAt(network + arp.TPA, 4)
  const operation = arp.operation(mem, network)
  const tail = `length ${left(network)}`
  if (operation === arp.Operation.Reply) {
    return `ARP, Reply ${sender} is-at ${formatMac(mac(mem, network + arp.SHA))}, ${tail}`
  }
  if (operation !== arp.Operation.Request) return `ARP, operation ${operation}, ${tail}`
  if (i32(mem, network + arp.SPA) === i32(mem, network + arp.TPA)) {
    return `ARP, Announcement ${sender}, ${tail}`
  }
  return `ARP, Request who-has ${target} tell ${sender}, ${tail}`
}

function ipText(): string {
  const { family, network, srcPort, dstPort } = frame
  const offsets = family === 4 ? ipv4 : ipv6
  const name = family === 4 ? 'IP' : 'IP6'
  const source = addressAt(network + offsets.SRC, family)
  const destination = addressAt(network + offsets.DST, family)
  const from = srcPort < 0 ? source : `${source}.${srcPort}`
  const to = dstPort < 0 ? destination : `${destination}.${dstPort}`
  return `${name} ${from} > ${to}: ${transportText()}${fragmentText()}`
}

function fragmentText(): string {
  const { mem, network, family, fragment } = frame
  if (!fragment) return ''
  if (family !== 4) return ' (fragment)'
  const more = ipv4.moreFragments(mem, network) ? '+' : ''
  const offset = ipv4.fragmentOffset(mem, network)
  return ` (fragment ${u16(mem, network + ipv4.ID)}, offset ${offset}${more})`
}

/** Octets of the IP packet behind the transport header's start, by the IP header. */
function payloadBytes(): number {
  const { mem, network, family, transport } = frame
  if (family === 4) return ipv4.totalBytes(mem, network) - (transport - network)
  const { HEADER_BYTES } = ipv6
  return ipv6.payloadBytes(mem, network) - (transport - network - HEADER_BYTES)
}

function transportText(): string {
  const { protocol, transport } = frame
  if (transport < 0) return protocol < 0 ? 'truncated' : `proto ${protocol}`
  const length = `length ${payloadBytes()}`
  if (protocol === ipv4.Protocol.Tcp) return tcpText()
  if (protocol === ipv4.Protocol.Udp) {
    return left(transport) < udp.HEADER_BYTES
      ? 'UDP, truncated'
      : `UDP, length ${u16(frame.mem, transport + udp.LENGTH) - udp.HEADER_BYTES}`
  }
  if (protocol === ipv4.Protocol.Icmp && frame.family === 4) return `ICMP ${icmpText()}, ${length}`
  if (protocol === ipv4.Protocol.Icmp6) return `ICMP6, ${icmpText()}, ${length}`
  return `proto ${protocol}, ${length}`
}

function tcpText(): string {
  const { mem, transport } = frame
  if (!tcp.isHeader(mem, transport, left(transport))) return 'TCP, truncated'
  const flags = tcp.flags(mem, transport)
  const letters = FLAGS.filter(([bit]) => (flags & bit) !== 0).map(([, letter]) => letter)
  const ack = (flags & tcp.Flag.Ack) !== 0 ? `ack ${u32(mem, transport + tcp.ACK)}, ` : ''
  const window = u16(mem, transport + WINDOW)
  const length = payloadBytes() - tcp.headerBytes(mem, transport)
  const seq = `seq ${u32(mem, transport + tcp.SEQ)}, `
  return `Flags [${letters.join('') || 'none'}], ${seq}${ack}win ${window}, length ${length}`
}

function icmpText(): string {
  const { mem, transport, family } = frame
  if (left(transport) < icmp.HEADER_BYTES) return 'truncated'
  const type = u8(mem, transport)
  const code = u8(mem, transport + 1)
  const rest = transport + icmp.REST
  const name = (family === 4 ? NAMES4 : NAMES6).get(type) ?? `type ${type} code ${code}`
  if (name.startsWith('echo')) return `${name}, id ${u16(mem, rest)}, seq ${u16(mem, rest + 2)}`
  if (family === 4 && type === icmp.Type4.Unreachable) {
    if (code === icmp.Code4.FragmentationNeeded) return `need to frag (mtu ${u16(mem, rest + 2)})`
    return `${UNREACHABLE4[code] ?? `code ${code}`} unreachable`
  }
  if (family === 6 && type === icmp.Type6.Unreachable) {
    return `${UNREACHABLE6[code] ?? `code ${code}`} unreachable`
  }
  if (family === 6 && type === icmp.Type6.PacketTooBig) return `${name}, mtu ${u32(mem, rest)}`
  const neighbor =
    family === 6 &&
    (type === icmp.Type6.NeighborSolicitation || type === icmp.Type6.NeighborAdvertisement)
  if (neighbor && left(rest) >= 20) return `${name}, target ${addressAt(rest + 4, 6)}`
  return name
}
