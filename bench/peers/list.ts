/** All systems by name. */
import { kernelBridge, kernelRoute } from './kernel.ts'
import { nullForwarder } from './null.ts'
import { ovs, ovsTso } from './ovs.ts'
import type { Peer, PeerName } from './peer.ts'
import { tapline, taplineRoute } from './tapline.ts'
import { vde } from './vde.ts'

export const PEERS: Readonly<Record<PeerName, Peer>> = {
  tapline,
  'tapline-route': taplineRoute,
  'kernel-bridge': kernelBridge,
  'kernel-route': kernelRoute,
  ovs,
  'ovs-tso': ovsTso,
  vde,
  null: nullForwarder,
}
