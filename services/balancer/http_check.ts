/**
 * A health check by HTTP: `GET` from a socket that was opened in the backend's own network stack,
 * so the application is asked where it lives, whatever is between it and the node.
 *
 * Node.js opens sockets late, when the thread is in its own namespace again. So the descriptor is
 * made first, in the backend's (links.ts), and handed to Node.js unconnected.
 */
import { request } from 'node:http'
import { Socket } from 'node:net'
import { type Address, formatAddress } from '../../stack/address.ts'
import type { HealthcheckConfig } from '../config/model.ts'
import type { CheckParts } from './checks.ts'
import type { Check, Verdict } from './health.ts'

const OK_MIN = 200
const OK_MAX = 399

/** 2xx and 3xx are well: a redirect is not followed. */
export function httpCheck(
  { clock, openSocket }: Pick<CheckParts, 'clock' | 'openSocket'>,
  { port, path, timeoutMs }: HealthcheckConfig,
  target: Address,
): Check {
  const host = formatAddress(target)
  return (done) => {
    let socket: Socket | undefined
    let over = false
    const end = (verdict: Verdict | undefined): void => {
      if (over) return
      over = true
      cancel()
      socket?.destroy()
      if (verdict !== undefined) done(verdict)
    }
    const late: Verdict = { healthy: false, detail: `no answer in ${timeoutMs} ms` }
    const fail = (error: Error): void => end({ healthy: false, detail: error.message })
    let cancel = clock.after(timeoutMs, () => end(late))
    try {
      socket = new Socket({ fd: openSocket(target.family), manualStart: true } as object)
      socket.on('error', fail)
      socket.connect({ host, port })
      const opened = socket
      const asking = request({ host, port, path, createConnection: () => opened })
      asking.on('error', fail)
      asking.on('response', ({ statusCode = 0 }) => {
        const healthy = statusCode >= OK_MIN && statusCode <= OK_MAX
        end({ healthy, detail: `HTTP ${statusCode}` })
      })
      asking.end()
    } catch (error) {
      // Its namespace is gone, or this process has no descriptor left: not within the call.
      cancel()
      cancel = clock.after(0, () => fail(error as Error))
    }
    return () => end(undefined)
  }
}
