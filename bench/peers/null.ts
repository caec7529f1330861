/** The null forwarder (see ../null.ts): the ceiling of tapline's own I/O. */
import { join } from 'node:path'
import { onCpus } from '../netns.ts'
import { background } from '../shell.ts'
import { CLIENT, type Peer, SWITCHED_SERVER } from './peer.ts'

export const nullForwarder: Peer = {
  title: 'null forwarder',
  tools: {},
  serverAddress: SWITCHED_SERVER,
  taps: true,
  async open({ client, server }, { engine, systemCpus }) {
    const ends = [client, `${CLIENT}/24`, server, `${SWITCHED_SERVER}/24`]
    const script = join(import.meta.dirname, '..', 'null.js')
    const argv = [process.execPath, script, engine, ...ends]
    const daemon = await background(onCpus(systemCpus, argv), { ready: /^ready .*\n/m })
    return { about: daemon.readyLine.replace('ready ', ''), close: daemon.stop }
  },
}
