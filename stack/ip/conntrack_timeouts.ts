/** How long a connection is remembered after its last packet, by state: Linux's defaults. */
import * as ipv4 from './ipv4.ts'

export interface Timeouts {
  readonly tcpSynSentMs: number
  readonly tcpSynRecvMs: number
  readonly tcpEstablishedMs: number
  readonly tcpFinWaitMs: number
  readonly tcpCloseWaitMs: number
  readonly tcpLastAckMs: number
  readonly tcpTimeWaitMs: number
  readonly tcpCloseMs: number
  /** At most, while one end has sent what the other has not acknowledged. */
  readonly tcpUnacknowledgedMs: number
  /** UDP that was not answered yet. */
  readonly udpMs: number
  /** UDP with traffic both ways. */
  readonly udpStreamMs: number
  readonly icmpMs: number
  readonly genericMs: number
}

const SECOND_MS = 1000
const DAY_MS = 86_400_000

export const DEFAULT_TIMEOUTS: Timeouts = {
  tcpSynSentMs: 120 * SECOND_MS,
  tcpSynRecvMs: 60 * SECOND_MS,
  tcpEstablishedMs: 5 * DAY_MS,
  tcpFinWaitMs: 120 * SECOND_MS,
  tcpCloseWaitMs: 60 * SECOND_MS,
  tcpLastAckMs: 30 * SECOND_MS,
  tcpTimeWaitMs: 120 * SECOND_MS,
  tcpCloseMs: 10 * SECOND_MS,
  tcpUnacknowledgedMs: 300 * SECOND_MS,
  udpMs: 30 * SECOND_MS,
  udpStreamMs: 120 * SECOND_MS,
  icmpMs: 30 * SECOND_MS,
  genericMs: 600 * SECOND_MS,
}

/** Of TCP, by the numbers of `TcpState`. */
export function tcpTimeoutsMs(t: Timeouts): readonly number[] {
  return [
    t.tcpSynSentMs,
    t.tcpSynSentMs,
    t.tcpSynRecvMs,
    t.tcpEstablishedMs,
    t.tcpFinWaitMs,
    t.tcpCloseWaitMs,
    t.tcpLastAckMs,
    t.tcpTimeWaitMs,
    t.tcpCloseMs,
    t.tcpSynSentMs,
  ]
}

/** Of everything but TCP. */
export function idleMs(t: Timeouts, protocol: number, assured: boolean): number {
  switch (protocol) {
    case ipv4.Protocol.Udp:
      return assured ? t.udpStreamMs : t.udpMs
    case ipv4.Protocol.Icmp:
    case ipv4.Protocol.Icmp6:
      return t.icmpMs
    default:
      return t.genericMs
  }
}
