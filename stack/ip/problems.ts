/** What can be wrong with a packet, and how both families say so (RFC 792, RFC 4443). */
import { DropReason } from '../drop.ts'
import * as icmp from './icmp.ts'

/** One thing that can be wrong. Types and codes are `type << 8 | code`; 0: the family is silent. */
export interface Problem {
  readonly text: string
  readonly four: number
  readonly six: number
  /** What the refused packet is counted as. */
  readonly reason: number
}

const U4 = icmp.Type4.Unreachable << 8
const U6 = icmp.Type6.Unreachable << 8

type ProblemName =
  | 'HopsExceeded'
  | 'ReassemblyTime'
  | 'NoRoute'
  | 'Host'
  | 'Port'
  | 'Protocol'
  | 'TooBig'
  | 'FragmentField'
  | 'ExtensionField'
  | 'ExtensionOption'
  | 'Option'
  | 'Scope'

export const Problems: Readonly<Record<ProblemName, Problem>> = {
  HopsExceeded: {
    text: 'time exceeded',
    four: icmp.Type4.TimeExceeded << 8,
    six: icmp.Type6.TimeExceeded << 8,
    reason: DropReason.TtlExceeded,
  },
  ReassemblyTime: {
    text: 'reassembly time exceeded',
    four: (icmp.Type4.TimeExceeded << 8) | 1,
    six: (icmp.Type6.TimeExceeded << 8) | 1,
    reason: DropReason.FragmentTimeout,
  },
  NoRoute: {
    text: 'network unreachable',
    four: U4 | icmp.Code4.Net,
    six: U6 | icmp.Code6.NoRoute,
    reason: DropReason.NoRoute,
  },
  Host: {
    text: 'host unreachable',
    four: U4 | icmp.Code4.Host,
    six: U6 | icmp.Code6.Address,
    reason: DropReason.NeighborFailed,
  },
  Port: {
    text: 'port unreachable',
    four: U4 | icmp.Code4.Port,
    six: U6 | icmp.Code6.Port,
    reason: DropReason.PortUnreachable,
  },
  /** The IPv6 form points at the octet that names the protocol. */
  Protocol: {
    text: 'protocol unreachable',
    four: U4 | icmp.Code4.Protocol,
    six: (icmp.Type6.ParameterProblem << 8) | 1,
    reason: DropReason.ProtocolUnreachable,
  },
  TooBig: {
    text: 'packet too big',
    four: U4 | icmp.Code4.FragmentationNeeded,
    six: icmp.Type6.PacketTooBig << 8,
    reason: DropReason.MtuExceeded,
  },
  /** IPv6 only: IPv4 has no rule that an odd fragment is told about. */
  FragmentField: {
    text: 'parameter problem',
    four: 0,
    six: icmp.Type6.ParameterProblem << 8,
    reason: DropReason.FragmentMalformed,
  },
  ExtensionField: {
    text: 'parameter problem',
    four: 0,
    six: icmp.Type6.ParameterProblem << 8,
    reason: DropReason.IpOptions,
  },
  ExtensionOption: {
    text: 'parameter problem',
    four: 0,
    six: (icmp.Type6.ParameterProblem << 8) | 2,
    reason: DropReason.IpOptions,
  },
  /** IPv4 only; the pointer is in the first octet (RFC 1812 §4.3.3.5). */
  Option: {
    text: 'parameter problem',
    four: icmp.Type4.ParameterProblem << 8,
    six: 0,
    reason: DropReason.IpOptions,
  },
  /** IPv6 only: a link-local source that wants to go further (RFC 4443 §3.1). */
  Scope: {
    text: 'beyond scope of source address',
    four: 0,
    six: U6 | icmp.Code6.BeyondScope,
    reason: DropReason.IpMartian,
  },
}
