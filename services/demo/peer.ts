/**
 * What runs inside the demo's sandboxes where iperf3 or ping is not installed: a TCP sink, a
 * sender, and a prober, in plain Node. Started as a process of its own in the sandbox's namespace.
 *
 * ```text
 *   node peer.js sink PORT               counts what comes; says `listening` on stdout
 *   node peer.js send HOST PORT MS       sends for so long; prints {"bytes","ms"}
 *   node peer.js probe HOST PORT COUNT   opens connections; prints {"rttsMs"}
 * ```
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** Octets of one write: a few super-frames. */
const CHUNK_BYTES: number = 256 * 1024

const [role, ...args] = process.argv.slice(2)
if (role === 'sink') await sink(Number(args[0]))
else if (role === 'send') await send(args[0]!, Number(args[1]), Number(args[2]))
else await probe(args[0]!, Number(args[1]), Number(args[2]))

async function sink(port: number): Promise<void> {
  const server = createServer((socket) => {
    socket.resume()
    socket.on('error', () => socket.destroy())
  })
  server.listen(port, '::')
  await once(server, 'listening')
  process.stdout.write('listening\n')
}

async function send(host: string, port: number, forMs: number): Promise<void> {
  const socket = connect(port, host)
  await once(socket, 'connect')
  const chunk = Buffer.alloc(CHUNK_BYTES)
  const start = performance.now()
  let bytes = 0
  while (performance.now() - start < forMs) {
    bytes += chunk.length
    if (!socket.write(chunk)) await once(socket, 'drain')
  }
  const ms = performance.now() - start
  socket.destroy()
  process.stdout.write(`${JSON.stringify({ bytes, ms })}\n`)
}

async function probe(host: string, port: number, count: number): Promise<void> {
  const rttsMs: number[] = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    const socket = connect(port, host)
    await once(socket, 'connect')
    rttsMs.push(performance.now() - start)
    socket.destroy()
  }
  process.stdout.write(`${JSON.stringify({ rttsMs })}\n`)
}
