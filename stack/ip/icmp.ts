/**
 * ICMP (RFC 792) and ICMPv6 (RFC 4443) headers: type, code, checksum, four octets by type.
 *
 * ```text
 *  0      1      2          4               8
 *  | type | code | checksum | rest of header| data …
 * ```
 */
export const CHECKSUM = 2
export const REST = 4
export const HEADER_BYTES = 8

export const Type4 = {
  EchoReply: 0,
  Unreachable: 3,
  Redirect: 5,
  Echo: 8,
  TimeExceeded: 11,
  ParameterProblem: 12,
} as const

/** Codes of Type4.Unreachable (RFC 792, RFC 1812 §5.2.7.1). */
export const Code4 = {
  Net: 0,
  Host: 1,
  Protocol: 2,
  Port: 3,
  FragmentationNeeded: 4,
  AdminProhibited: 13,
} as const

export const Type6 = {
  Unreachable: 1,
  PacketTooBig: 2,
  TimeExceeded: 3,
  ParameterProblem: 4,
  Echo: 128,
  EchoReply: 129,
  MldQuery: 130,
  MldReport: 131,
  MldDone: 132,
  RouterSolicitation: 133,
  RouterAdvertisement: 134,
  NeighborSolicitation: 135,
  NeighborAdvertisement: 136,
  Redirect: 137,
  MldReport2: 143,
} as const

/** Codes of Type6.Unreachable (RFC 4443 §3.1). */
export const Code6 = {
  NoRoute: 0,
  AdminProhibited: 1,
  BeyondScope: 2,
  Address: 3,
  Port: 4,
} as const

/** Errors must not be sent about errors (RFC 1122 §3.2.2, RFC 4443 §2.4 e). */
export function isError4(type: number): boolean {
  return (
    type === Type4.Unreachable ||
    type === Type4.Redirect ||
    type === Type4.TimeExceeded ||
    type === Type4.ParameterProblem
  )
}

export function isError6(type: number): boolean {
  return type < 128
}

export function isEchoRequest(type: number, six: boolean): boolean {
  return type === (six ? Type6.Echo : Type4.Echo)
}

export function isEchoReply(type: number, six: boolean): boolean {
  return type === (six ? Type6.EchoReply : Type4.EchoReply)
}
