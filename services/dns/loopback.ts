/**
 * 127.0.0.11 inside network namespaces: where Docker's containers ask for names. A UDP and a TCP
 * socket in each namespace, made there and handed to Node.js.
 *
 * A socket keeps its namespace alive, which must be able to die: so the name or the process that it
 * is known by is watched, and when that is gone the sockets are closed. Nothing polls; what is
 * watched is told by the kernel (inotify, pidfd).
 *
 * While the namespace's `lo` was never up, the kernel lets 127.0.0.11 be bound but keeps no source
 * address for the socket: answers over UDP would come from elsewhere, also once `lo` is up. So `lo`
 * is brought up first, as container runtimes do.
 *
 * Streams are bounded in number, in time and in what waits to be written.
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram'
import { existsSync, type FSWatcher, watch } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { basename, dirname } from 'node:path'
import { type Address, parseAddress } from '../../stack/address.ts'
import type { Cancel, SystemClock } from '../../stack/clock.ts'
import { inetSocket, processHandle } from '../../stack/native/inet_socket.ts'
import { close, watchReadable } from '../../stack/native/libc.ts'
import { withNetlink } from '../../stack/native/netlink.ts'
import { inNetns, netnsPath } from '../../stack/native/netns.ts'
import type { LoopbackListener } from './host.ts'
import { HEADER_BYTES, PORT, TCP_BYTES_MAX } from './wire.ts'

/** Docker's. */
const LOOPBACK: Address = parseAddress('127.0.0.11')
/** Connections of one sandbox at a time. */
const CONNECTIONS_MAX = 32
/** RFC 7766 §6.2.3: a few seconds. */
const IDLE_MS = 10_000
/** Answers that may wait for a client that does not read. */
const UNREAD_BYTES_MAX = 256 * 1024

export class Loopbacks {
  readonly #clock: SystemClock
  readonly #watches = new Folders()

  constructor(clock: SystemClock) {
    this.#clock = clock
  }

  /**
   * `gone`: the namespace went, and this with it.
   * @throws StackError: the namespace is gone, its loopback cannot be brought up, or the port is
   * taken.
   */
  open(netns: string, listener: LoopbackListener, gone: () => void): Cancel {
    const bound = { address: LOOPBACK, port: PORT }
    const [udpFd, tcpFd] = inNetns(netns, () => {
      bringUpLoopback()
      const fd = inetSocket('udp', 4, bound)
      try {
        return [fd, inetSocket('tcp', 4, bound)]
      } catch (error) {
        close(fd)
        throw error
      }
    })
    const tick = (): void => this.#clock.tick()
    const udp = openUdp(udpFd!, listener, tick)
    const tcp = new TcpServer(tcpFd!, listener, tick)
    let open = true
    const end = (): void => {
      if (!open) return
      open = false
      unwatch()
      udp.close()
      tcp.close()
    }
    let unwatch = (): void => {}
    try {
      unwatch = this.#whenGone(netns, () => {
        end()
        gone()
      })
    } catch (error) {
      end()
      throw error
    }
    return end
  }

  /** Call once when the namespace is not known by this name any more. */
  #whenGone(netns: string, gone: () => void): Cancel {
    const pid = /^pid:(\d+)$/.exec(netns)?.[1]
    if (pid === undefined) return this.#watches.whenGone(netnsPath(netns), gone)
    const fd = processHandle(Number(pid))
    const handle = watchReadable(fd, gone)
    return () => {
      handle.stop()
      close(fd)
    }
  }
}

/** Of the namespace that this thread is in. @throws StackError. */
function bringUpLoopback(): void {
  withNetlink((netlink) => {
    const link = netlink.link('lo')
    if (link !== undefined) netlink.setLink(link.index, { up: true })
  })
}

function openUdp(fd: number, listener: LoopbackListener, tick: () => void): DatagramSocket {
  const socket = createSocket('udp4')
  // An answer that cannot be delivered is the client's loss.
  socket.on('error', () => {})
  socket.on('message', (message, { address, port }) => {
    tick()
    const reply = (answer: Uint8Array): void => {
      try {
        socket.send(answer.slice(), port, address)
      } catch {
        // It was closed while the answer was on its way.
      }
    }
    listener(message, { isStream: false, reply })
  })
  socket.bind({ fd, exclusive: true })
  return socket
}

class TcpServer {
  readonly #server: Server
  readonly #listener: LoopbackListener
  readonly #tick: () => void
  readonly #sockets = new Set<Socket>()

  constructor(fd: number, listener: LoopbackListener, tick: () => void) {
    this.#listener = listener
    this.#tick = tick
    this.#server = createServer((socket) => this.#accept(socket))
    this.#server.maxConnections = CONNECTIONS_MAX
    this.#server.on('error', () => {})
    this.#server.listen({ fd })
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket)
    socket.setTimeout(IDLE_MS, () => socket.destroy())
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => {})
    let unread: Buffer = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      this.#tick()
      unread = unread.length === 0 ? chunk : Buffer.concat([unread, chunk])
      while (unread.length >= 2 && !socket.destroyed) {
        const length = unread.readUInt16BE(0)
        if (length < HEADER_BYTES) return void socket.destroy()
        if (unread.length < length + 2) break
        this.#query(socket, unread.subarray(2, length + 2))
        unread = unread.subarray(length + 2)
      }
    })
  }

  #query(socket: Socket, message: Uint8Array): void {
    const reply = (answer: Uint8Array): void => {
      if (socket.destroyed) return
      if (socket.writableLength > UNREAD_BYTES_MAX || answer.length > TCP_BYTES_MAX) {
        socket.destroy()
        return
      }
      socket.write(Buffer.concat([Uint8Array.of(answer.length >>> 8, answer.length), answer]))
    }
    this.#listener(message, { isStream: true, reply })
  }
}

/** Watches files for their end, with one watch a folder. */
class Folders {
  readonly #folders = new Map<string, { watcher: FSWatcher; files: Map<string, Set<() => void>> }>()

  whenGone(path: string, gone: () => void): Cancel {
    const [folder, file] = [dirname(path), basename(path)]
    let known = this.#folders.get(folder)
    if (known === undefined) {
      const files = new Map<string, Set<() => void>>()
      const watcher = watch(folder, { persistent: false }, (_event, name) => {
        const told = name === null ? [...files.keys()] : [name]
        for (const each of told) {
          if (files.has(each) && !existsSync(`${folder}/${each}`)) {
            for (const run of [...files.get(each)!]) run()
          }
        }
      })
      watcher.on('error', () => {})
      known = { watcher, files }
      this.#folders.set(folder, known)
    }
    const { files, watcher } = known
    const set = files.get(file) ?? new Set()
    files.set(file, set)
    set.add(gone)
    return () => {
      set.delete(gone)
      if (set.size === 0) files.delete(file)
      if (files.size > 0 || this.#folders.get(folder)?.files !== files) return
      watcher.close()
      this.#folders.delete(folder)
    }
  }
}
