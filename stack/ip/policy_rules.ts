/**
 * The rules of one direction of a policy, ready to be asked: first match, else the default.
 *
 * ```text
 *   rule     allow or deny | far addresses: prefixes | protocols | destination ports
 *   matches  one of its prefixes holds the far address (none: every address), and
 *            one of its protocols is the packet's      (none: every protocol),  and
 *            one of its ranges holds the port          (none: every port)
 * ```
 *
 * Far is the source of what goes to the endpoint, and the destination of what it sends. A rule with
 * ports is for protocols that have them. A packet whose ports are not known (a later fragment) is
 * allowed by no rule that asks for ports, and denied by every one that might be meant.
 *
 * Flat typed arrays, walked from the start: only the first packet of a flow asks. Limits:
 * {@link RULES_MAX} rules, of {@link PARTS_MAX} prefixes and as many ranges each.
 */
import { type Prefix, wordMask } from '../address.ts'
import { isFour } from './nat_rules.ts'
import { type DST, PORTS, PROTOCOL, type SRC } from './tuple.ts'

/** Of one list; an endpoint has its own and its network's. */
export const RULES_MAX = 256
/** Prefixes of one rule, and ranges of ports. */
export const PARTS_MAX = 64

export interface PortRange {
  readonly first: number
  readonly last: number
}

export interface PolicyRule {
  readonly allow: boolean
  /** Empty: every address, of both families. */
  readonly far: readonly Prefix[]
  /** Numbers of IP protocols. Empty: all. */
  readonly protocols: readonly number[]
  /** Empty: all, and protocols without ports. */
  readonly ports: readonly PortRange[]
  /** Which one it is, for people. */
  readonly text: string
}

export interface PolicyRules {
  readonly rules: readonly PolicyRule[]
  /** What becomes of a flow that no rule is about. */
  readonly otherwise: boolean
  /** Whose default that is, for people. */
  readonly text: string
}

/** What {@link RuleList.match} says if no rule is about it. */
export const DEFAULT = -1

const PREFIX_WORDS = 8
/** First and last of a rule's parts in the flat arrays, and whether it allows. */
const RULE_WORDS = 7

export class RuleList {
  readonly #source: PolicyRules
  readonly #far: 0 | 4
  /** A rule: allow, then from and to of prefixes, protocols and ranges. */
  readonly #rules: Int32Array
  /** A prefix: four words of the address and four of the mask. */
  readonly #prefixes: Int32Array
  /** True for IPv4: a prefix of IPv6 such as ::/0 must not hold mapped addresses. */
  readonly #four: Uint8Array
  readonly #protocols: Uint8Array
  readonly #ports: Uint16Array

  /** @param far - {@link SRC} for what goes to the endpoint, {@link DST} for what it sends. */
  constructor(source: PolicyRules, far: typeof SRC | typeof DST) {
    const { rules } = source
    const prefixes = rules.flatMap((rule) => rule.far)
    this.#source = source
    this.#far = far
    this.#protocols = Uint8Array.from(rules.flatMap(({ protocols }) => protocols))
    const ranges = rules.flatMap(({ ports }) => ports)
    this.#ports = Uint16Array.from(ranges.flatMap(({ first, last }) => [first, last]))
    this.#four = Uint8Array.from(prefixes, ({ address }) => (address.family === 4 ? 1 : 0))
    this.#prefixes = new Int32Array(prefixes.length * PREFIX_WORDS)
    for (const [i, prefix] of prefixes.entries()) putPrefix(this.#prefixes, i, prefix)
    this.#rules = new Int32Array(rules.length * RULE_WORDS)
    const at = [0, 0, 0]
    for (const [i, rule] of rules.entries()) {
      const words = [rule.allow ? 1 : 0]
      for (const [part, list] of [rule.far, rule.protocols, rule.ports].entries()) {
        words.push(at[part]!, at[part]! + list.length)
        at[part]! += list.length
      }
      this.#rules.set(words, i * RULE_WORDS)
    }
  }

  /** The rule that decides about this tuple, or {@link DEFAULT}. `ports`: its ports are known. */
  match(words: Int32Array, ports: boolean): number {
    const rules = this.#rules
    for (let i = 0, at = 0; at < rules.length; i++, at += RULE_WORDS) {
      const blind = !ports && rules[at + 5] !== rules[at + 6]
      if (blind && rules[at] === 1) continue
      if (!this.#holdsFar(words, rules[at + 1]!, rules[at + 2]!)) continue
      if (!this.#hasProtocol(words[PROTOCOL]! & 0xff, rules[at + 3]!, rules[at + 4]!)) continue
      if (blind || this.#hasPort(words[PORTS]! & 0xffff, rules[at + 5]!, rules[at + 6]!)) return i
    }
    return DEFAULT
  }

  /** True if what {@link match} found lets it pass. */
  allows(rule: number): boolean {
    return rule === DEFAULT ? this.#source.otherwise : this.#rules[rule * RULE_WORDS] === 1
  }

  /** Which rule that is, for people. */
  describe(rule: number): string {
    return rule === DEFAULT ? this.#source.text : this.#source.rules[rule]!.text
  }

  #holdsFar(words: Int32Array, from: number, to: number): boolean {
    if (from === to) return true
    const four = isFour(words) ? 1 : 0
    const prefixes = this.#prefixes
    const far = this.#far
    for (let i = from; i < to; i++) {
      if (this.#four[i] !== four) continue
      const at = i * PREFIX_WORDS
      let same = true
      for (let j = 0; j < 4; j++) {
        if ((words[far + j]! & prefixes[at + 4 + j]!) !== prefixes[at + j]) same = false
      }
      if (same) return true
    }
    return false
  }

  #hasProtocol(protocol: number, from: number, to: number): boolean {
    if (from === to) return true
    for (let i = from; i < to; i++) if (this.#protocols[i] === protocol) return true
    return false
  }

  #hasPort(port: number, from: number, to: number): boolean {
    if (from === to) return true
    for (let i = from; i < to; i++) {
      if (port >= this.#ports[2 * i]! && port <= this.#ports[2 * i + 1]!) return true
    }
    return false
  }
}

function putPrefix(into: Int32Array, index: number, { address, bits }: Prefix): void {
  const at = index * PREFIX_WORDS
  const whole = address.family === 4 ? bits + 96 : bits
  for (let i = 0; i < 4; i++) {
    const mask = wordMask(whole - 32 * i)
    into[at + 4 + i] = mask
    into[at + i] = address.words[i]! & mask
  }
}
