/** All systems by name. */
import { cniBridge, taplineCni } from './cni.ts'
import {
  dockerBridge,
  dockerOut,
  dockerOutPlain,
  taplineDocker,
  taplineDockerOut,
} from './docker.ts'
import { kernelBridge, kernelNat, kernelRoute } from './kernel.ts'
import { nullForwarder } from './null.ts'
import {
  kernelToTapline,
  kernelVxlan,
  ovsVxlan,
  taplineOverlay,
  taplineSealed,
  taplineToKernel,
} from './overlay.ts'
import { ovs, ovsTso } from './ovs.ts'
import type { Peer, PeerName } from './peer.ts'
import { haproxy, nginx } from './proxies.ts'
import { dnsmasq, taplineDns, unbound } from './resolvers.ts'
import { tapline, taplineNat, taplineRoute, taplineVip } from './tapline.ts'
import { pasta, slirp4netns } from './usermode.ts'
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
  'tapline-nat': taplineNat,
  'kernel-nat': kernelNat,
  pasta,
  slirp4netns,
  'tapline-vip': taplineVip,
  haproxy,
  nginx,
  'tapline-overlay': taplineOverlay,
  'tapline-sealed': taplineSealed,
  'kernel-vxlan': kernelVxlan,
  'ovs-vxlan': ovsVxlan,
  'tapline-to-kernel': taplineToKernel,
  'kernel-to-tapline': kernelToTapline,
  'tapline-dns': taplineDns,
  dnsmasq,
  unbound,
  'tapline-docker': taplineDocker,
  'docker-bridge': dockerBridge,
  'tapline-docker-out': taplineDockerOut,
  'docker-out': dockerOut,
  'docker-out-plain': dockerOutPlain,
  'tapline-cni': taplineCni,
  'cni-bridge': cniBridge,
}
