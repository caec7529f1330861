/**
 * The kinds of health check, each as one question to one address of a backend.
 *
 * ```text
 *   tcp    SYN from the gateway; SYN+ACK is well (and reset), a reset or silence is not
 *   icmp   echo request; a reply is well
 *   udp    an empty datagram and an echo request: a closed port is not well, silence is if the
 *          station itself answers
 *   dns    a query for the root's name servers; any response is well
 *   http   GET from a socket in the backend's own stack (http_check.ts); 2xx and 3xx are well
 * ```
 *
 * All but `http` are packets of the router itself: they cost no socket, and nobody else is asked.
 */
import type { Address } from '../../stack/address.ts'
import { u8, u16 } from '../../stack/bytes.ts'
import type { Cancel, Clock } from '../../stack/clock.ts'
import type { ProbeResult, Prober } from '../../stack/ip/prober.ts'
import type { Random } from '../../stack/random.ts'
import type { HealthcheckConfig } from '../config/model.ts'
import type { Check, Verdict } from './health.ts'
import { httpCheck } from './http_check.ts'

export interface CheckParts {
  readonly prober: Prober
  readonly clock: Clock
  readonly random: Random
  /** Opens a socket in the backend's stack, for `http`; see {@link Links.openSocket}. */
  readonly openSocket: (family: 4 | 6) => number
}

/** How to ask one address of a backend. */
export function checkOf(parts: CheckParts, config: HealthcheckConfig, target: Address): Check {
  switch (config.type) {
    case 'tcp':
    case 'icmp':
      return simpleCheck(parts, config, target)
    case 'udp':
      return udpCheck(parts, config, target)
    case 'dns':
      return dnsCheck(parts, config, target)
    case 'http':
      return httpCheck(parts, config, target)
  }
}

function simpleCheck({ prober }: CheckParts, config: HealthcheckConfig, target: Address): Check {
  const { port, timeoutMs } = config
  const kind = config.type === 'tcp' ? 'tcp' : 'icmp'
  return (done) => {
    const tell = (result: ProbeResult): void => done(verdictOf(result, timeoutMs))
    return prober.probe({ kind, target, port, timeoutMs, done: tell })
  }
}

function verdictOf(result: ProbeResult, timeoutMs: number): Verdict {
  switch (result) {
    case 'answered':
      return { healthy: true, detail: 'answers' }
    case 'silent':
      return { healthy: false, detail: `no answer in ${timeoutMs} ms` }
    case 'unsent':
      return { healthy: undefined, detail: 'could not be asked' }
    default:
      return { healthy: false, detail: result }
  }
}

/** Two questions, since a service may well have nothing to say to an empty datagram. */
function udpCheck({ prober }: CheckParts, config: HealthcheckConfig, target: Address): Check {
  const { port, timeoutMs } = config
  return (done) => {
    let datagram: ProbeResult | undefined
    let echo: ProbeResult | undefined
    const cancels: Cancel[] = []
    const settle = (): void => {
      const silent = datagram === 'silent'
      if (datagram === undefined || (silent && echo === undefined)) return
      for (const cancel of cancels) cancel()
      const quiet = silent && echo === 'answered'
      done(quiet ? { healthy: true, detail: 'open' } : verdictOf(datagram, timeoutMs))
    }
    const base = { target, port, timeoutMs }
    const hear = (result: ProbeResult): void => {
      datagram = result
      settle()
    }
    const hearEcho = (result: ProbeResult): void => {
      echo = result
      settle()
    }
    cancels.push(prober.probe({ kind: 'udp', ...base, done: hear }))
    cancels.push(prober.probe({ kind: 'icmp', ...base, done: hearEcho }))
    return () => {
      for (const cancel of cancels) cancel()
    }
  }
}

const DNS_HEADER_BYTES = 12
const DNS_RESPONSE = 0x80
/** Of the root, type NS, class IN, recursion desired (RFC 1035 §4.1). */
const ROOT_NS = [0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]

function dnsCheck(parts: CheckParts, config: HealthcheckConfig, target: Address): Check {
  const { prober, random } = parts
  const { port, timeoutMs } = config
  return (done) => {
    const id = random.bits() & 0xffff
    const tell = (result: ProbeResult): void => done(verdictOf(result, timeoutMs))
    const data = Uint8Array.of(id >>> 8, id & 0xff, ...ROOT_NS)
    const accepts = (mem: Uint8Array, at: number, bytes: number): boolean => {
      if (bytes < DNS_HEADER_BYTES || u16(mem, at) !== id) return false
      return (u8(mem, at + 2) & DNS_RESPONSE) !== 0
    }
    return prober.probe({ kind: 'udp', target, port, timeoutMs, data, accepts, done: tell })
  }
}
