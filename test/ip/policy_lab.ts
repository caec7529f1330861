/** One endpoint's policy with frames for it; rules are told as lines, as the file has them. */
import { expect } from 'vitest'
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { DROP_COUNT, DROP_NAMES } from '../../stack/drop.ts'
import { Policy, type PolicySpec } from '../../stack/ip/policy.ts'
import { PolicyFlows } from '../../stack/ip/policy_flows.ts'
import type { PolicyRule, PolicyRules } from '../../stack/ip/policy_rules.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { frame, HOST_MAC } from './lab.ts'

export const PORT = 3

const PROTOCOLS: Readonly<Record<string, readonly number[]>> = {
  any: [],
  tcp: [6],
  udp: [17],
  icmp: [1, 58],
}

/** `allow tcp 10.0.0.0/8 80-90`; `-` for every address. */
function rule(line: string): PolicyRule {
  const [action, protocol = 'any', far = '-', ports = ''] = line.split(' ')
  const ranges = ports === '' ? [] : ports.split(',').map((part) => part.split('-').map(Number))
  return {
    allow: action === 'allow',
    protocols: PROTOCOLS[protocol]!,
    far: far === '-' ? [] : far.split(',').map(parsePrefix),
    ports: ranges.map(([first, last = first]) => ({ first: first!, last: last! })),
    text: line,
  }
}

/** The last line is the default. */
export function rules(...lines: string[]): PolicyRules {
  const otherwise = lines.pop() === 'allow'
  return { rules: lines.map(rule), otherwise, text: 'the default' }
}

/** What a sandbox has by default that is closed from outside. */
export const CLOSED: PolicySpec = { egress: rules('allow'), ingress: rules('deny') }

export class PolicyLab {
  readonly pool: Pool = new Pool({ smallCount: 16, largeCount: 2, checked: true })
  readonly clock: VirtualClock = new VirtualClock()
  readonly flows: PolicyFlows
  readonly policy: Policy
  /** Of the last packet that passed, before it went. */
  recorded = false
  #passed = 0

  constructor(spec: PolicySpec, flowsMax = 64) {
    const { pool, clock } = this
    this.flows = new PolicyFlows({ pool, clock, random: new Random(3), flowsMax })
    this.policy = new Policy({ pool, flows: this.flows, port: PORT, name: 'web/eth0', spec })
  }

  /** `passes`, or why the packet was dropped. */
  sends(ip: Uint8Array): string {
    return this.give(this.policy.egress(this.#next), frame(HOST_MAC, ip))
  }

  gets(ip: Uint8Array): string {
    return this.give(this.policy.ingress(this.#next), frame(HOST_MAC, ip))
  }

  give(input: (packet: Packet) => void, bytes: Uint8Array, recorded = false): string {
    const before = this.#drops()
    const passed = this.#passed
    const packet = this.pool.alloc(bytes.length)!
    this.pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    packet.recorded = recorded
    input(packet)
    expect(this.pool.leaks()).toEqual([])
    if (this.#passed > passed) return 'passes'
    const after = this.#drops()
    return DROP_NAMES[after.findIndex((count, reason) => count > before[reason]!)]!
  }

  pass(ms: number): void {
    const until = this.clock.nowMs + ms
    while (this.clock.step(until));
    this.clock.jump(until)
  }

  end(): void {
    this.policy.close()
    this.flows.close()
    expect(this.flows.count).toBe(0)
    expect(this.clock.pending).toBe(0)
  }

  readonly #next = (packet: Packet): void => {
    this.#passed++
    this.recorded = packet.recorded
    this.pool.free(packet)
  }

  #drops(): number[] {
    return Array.from({ length: DROP_COUNT }, (_, reason) => this.pool.counters.drops(0, reason))
  }
}

/** Words of a tuple for a list of rules. */
export function tupleOf(o: {
  readonly from: string
  readonly to: string
  readonly protocol: number
  readonly port: number
}): Int32Array {
  const words = new Int32Array(10)
  words.set(parseAddress(o.from).words, 0)
  words.set(parseAddress(o.to).words, 4)
  words[8] = (40_000 << 16) | o.port
  words[9] = o.protocol
  return words
}
