/**
 * TCP of a sandbox on TAPs, from within the test's own process: sockets of its namespace's kernel,
 * so that one test runs in memory and on TAPs alike.
 */
import { createServer, Socket } from 'node:net'
import { StackError } from '../../stack/errors.ts'
import { inetSocket } from '../../stack/native/inet_socket.ts'
import { inNetns } from '../../stack/native/netns.ts'
import type { ListenOptions, TcpListener } from './tcp_ports.ts'

/** A listener, and the connections that it took. */
export interface TapListener extends TcpListener {
  /** Close its connections too. */
  stop(): void
}

/** Take connections to a port of a namespace. @throws StackError `exists`. */
export function listenIn(
  netns: string,
  port: number,
  accept: (stream: Socket) => void,
  options: ListenOptions = {},
): TapListener {
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: options.allowHalfOpen ?? false }, (socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    socket.on('error', () => {})
    accept(socket)
  })
  let failure: NodeJS.ErrnoException | undefined
  server.on('error', (error) => {
    failure = error
  })
  // Without a host there is nothing to resolve, so the socket is made within the call.
  inNetns(netns, () => server.listen(port))
  if (!server.listening) {
    const why = failure?.message ?? 'the address is in use'
    throw new StackError('exists', `cannot listen on TCP port ${port} in ${netns}: ${why}`)
  }
  const close = (): void => {
    server.close()
  }
  const stop = (): void => {
    close()
    for (const socket of open) socket.destroy()
  }
  return { port, close, stop }
}

/** A connection from a namespace; not open yet. @throws StackError. */
export function connectIn(netns: string, host: string, port: number): Socket {
  const fd = inNetns(netns, () => inetSocket('tcp', host.includes(':') ? 6 : 4))
  const socket = new Socket({ fd, manualStart: true } as object)
  socket.connect({ host, port })
  return socket
}
