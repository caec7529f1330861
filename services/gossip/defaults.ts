/**
 * Constants of memberlist's LAN profile, and the formulas that make times of them. All members of
 * a cluster should agree on them, serf's agents among them; there are no keys for them.
 */

/** Memberlist's port, as Docker uses it. */
export const GOSSIP_PORT = 7946

/** A member is probed each interval; its ack has this long before others are asked to help. */
export const PROBE_INTERVAL_MS = 1000
export const PROBE_TIMEOUT_MS = 500
/** Members that are asked to ping it for us. */
export const INDIRECT_CHECKS = 3

/** A suspicion lasts this many probe intervals (times a logarithm) at least, */
export const SUSPICION_MULT = 4
/** and this many times longer at most, while nobody else confirms it. */
export const SUSPICION_MAX_MULT = 6

/** A broadcast goes out this many times (times a logarithm). */
const RETRANSMIT_MULT = 4
export const GOSSIP_INTERVAL_MS = 200
/** Members that get it each time. */
export const GOSSIP_NODES = 3
/** The dead hear of their death for so long, to refute it if they can; then they are forgotten. */
export const GOSSIP_TO_THE_DEAD_MS = 30_000

const PUSH_PULL_INTERVAL_MS = 30_000
/** Above so many members, a push/pull is rarer. */
const PUSH_PULL_SCALE_NODES = 32

/** A stream, from its opening to its end. */
export const STREAM_TIMEOUT_MS = 10_000
/** How bad the health of this node is counted to be at most, plus one. */
export const AWARENESS_MAX = 8
/** A datagram that no network cuts. */
export const DATAGRAM_BYTES_MAX = 1400

/**
 * A name whose node is dead for so long may come back from another address. memberlist's default
 * is never, which leaves a reinstalled host out until it is reaped everywhere.
 */
export const DEAD_RECLAIM_MS = 30_000

/** Members that are known at a time; more are refused, and counted. */
export const MEMBERS_MAX = 4096

/** Least time for which a member is suspect. */
export function suspicionMinMs(members: number): number {
  const scale = Math.max(1, Math.log10(Math.max(1, members)))
  return SUSPICION_MULT * scale * PROBE_INTERVAL_MS
}

/** How often a broadcast is sent. */
export function retransmitLimit(members: number): number {
  return RETRANSMIT_MULT * Math.ceil(Math.log10(members + 1))
}

/** The interval of push/pulls with so many members. */
export function pushPullMs(members: number): number {
  if (members <= PUSH_PULL_SCALE_NODES) return PUSH_PULL_INTERVAL_MS
  const doublings = Math.ceil(Math.log2(members) - Math.log2(PUSH_PULL_SCALE_NODES))
  return (doublings + 1) * PUSH_PULL_INTERVAL_MS
}
