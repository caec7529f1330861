/**
 * vde_switch of Virtual Distributed Ethernet, with two TAPs that it opens itself (`-tap`): one
 * process, its fastest arrangement. With vde_plug2tap every frame would cross two more processes.
 */
import { join } from 'node:path'
import { inNetns, onCpus } from '../netns.ts'
import { background, runSync } from '../shell.ts'
import { type Peer, SWITCHED_SERVER } from './peer.ts'
import { adoptTaps } from './taps.ts'

export const vde: Peer = {
  title: 'vde_switch',
  tools: { vde_switch: 'vde2' },
  serverAddress: SWITCHED_SERVER,
  taps: true,
  async open(place, { systemCpus }) {
    const sockets = ['-s', join(place.folder, 'ctl'), '-M', join(place.folder, 'mgmt')]
    const argv = ['vde_switch', ...sockets, '-tap', 'left', '-tap', 'right']
    const daemon = await background(inNetns(place.middle, onCpus(systemCpus, argv)))
    await adoptTaps(place)
    const version = /\d+\.\d+\.\d+/.exec(runSync(['vde_switch', '--version']))?.[0]
    return { about: `vde_switch ${version}, two TAPs in one process`, close: daemon.stop }
  },
}
