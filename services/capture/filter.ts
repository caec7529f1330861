/**
 * Capture filters: the part of pcap-filter(7) that people type, compiled to a function.
 *
 * ```text
 *  expression := term { ("and" | "&&" | "or" | "||") term }      equal precedence, left to right
 *  term       := ("not" | "!") term | "(" expression ")" | primitive
 *  primitive  := [ether] [src|dst] [host] ADDRESS | [src|dst] net PREFIX
 *              | [tcp|udp] [src|dst] (port N | portrange N-M)
 *              | ether (proto TYPE | broadcast | multicast) | broadcast | multicast
 *              | [ip|ip6] proto NUMBER | vlan [ID] | less N | greater N
 *              | ip | ip6 | arp | icmp | icmp6 | tcp | udp
 * ```
 *
 * As there, a value without a keyword repeats the last one's: `port 80 or 443`. Unlike there, every
 * primitive looks behind a VLAN tag, so that `vlan` only selects and shifts nothing.
 *
 * The grammar is small on purpose: what else pcap-filter knows, a saved capture can be asked with
 * tcpdump or Wireshark. Depth and length are bounded, since the text may come from anyone.
 */
import { StackError } from '../../stack/errors.ts'
import { Dissection } from './dissect.ts'
import * as test from './tests.ts'

/** Longest filter text, and deepest nesting of parentheses and negations. */
const FILTER_BYTES_MAX = 4096
const DEPTH_MAX = 64

/** True if the frame at `at` is wanted. */
export type Filter = (mem: Uint8Array, at: number, bytes: number) => boolean

/** What stands before a value: `src`, `port` and so on, remembered for values without them. */
interface Qualifiers {
  proto: string
  direction: test.Direction
  kind: string
}

const KINDS = new Set(['host', 'net', 'port', 'portrange', 'proto'])
const BARE = new Set(['ip', 'ip6', 'arp', 'icmp', 'icmp6', 'tcp', 'udp'])
const GROUPS = new Set(['broadcast', 'multicast'])
const KEYWORDS = new Set([
  ...KINDS,
  ...BARE,
  ...GROUPS,
  'ether',
  'src',
  'dst',
  'vlan',
  'less',
  'greater',
  'and',
  'or',
  'not',
])

/** An empty text wants everything. @throws StackError `bad-argument` that says where and what. */
export function parseFilter(text: string): Filter {
  if (text.length > FILTER_BYTES_MAX) {
    throw new StackError('bad-argument', `filter: longer than ${FILTER_BYTES_MAX} characters`)
  }
  if (text.trim() === '') return () => true
  const wanted = new Parser(text).parse()
  const frame = new Dissection()
  return (mem, at, bytes) => {
    frame.read(mem, at, bytes)
    return wanted(frame)
  }
}

/** How addresses and numbers begin; hexadecimal digits and `::` do too. */
const VALUE = /^[0-9a-f:]/i

/** `proto arp`, `proto tcp`: keywords that are values there. */
function kindNames(kind: string, word: string): boolean {
  return kind === 'proto' && BARE.has(word)
}

interface Token {
  readonly text: string
  readonly column: number
}

class Parser {
  readonly #tokens: Token[]
  readonly #text: string
  #at = 0
  #depth = 0
  #last: Qualifiers | undefined

  constructor(text: string) {
    this.#text = text
    const pattern = /&&|\|\||[()!]|[^\s()!&|]+|[&|]/g
    this.#tokens = [...text.matchAll(pattern)].map((match) => ({
      text: match[0],
      column: match.index + 1,
    }))
  }

  parse(): test.Test {
    const wanted = this.#expression()
    if (this.#peek() !== undefined) this.#fail('expected "and", "or" or the end')
    return wanted
  }

  #expression(): test.Test {
    let left = this.#term()
    for (;;) {
      if (this.#take('and') || this.#take('&&')) left = test.and(left, this.#term())
      else if (this.#take('or') || this.#take('||')) left = test.or(left, this.#term())
      else return left
    }
  }

  #term(): test.Test {
    if (++this.#depth > DEPTH_MAX) this.#fail('nested too deep')
    const wanted = this.#negationOrGroup() ?? this.#primitive()
    this.#depth--
    return wanted
  }

  #negationOrGroup(): test.Test | undefined {
    if (this.#take('not') || this.#take('!')) return test.not(this.#term())
    if (!this.#take('(')) return undefined
    const inner = this.#expression()
    if (!this.#take(')')) this.#fail('expected ")"')
    return inner
  }

  #primitive(): test.Test {
    const word = this.#peek()
    if (word !== undefined && !KEYWORDS.has(word) && VALUE.test(word)) {
      return this.#value(this.#last ?? { proto: '', direction: 'any', kind: '' })
    }
    if (this.#take('vlan')) return this.#vlan()
    if (this.#take('less')) return test.atMost(this.#number(0xffff_ffff))
    if (this.#take('greater')) return test.atLeast(this.#number(0xffff_ffff))
    return this.#qualified()
  }

  #qualified(): test.Test {
    const proto = this.#oneOf(BARE) ?? (this.#take('ether') ? 'ether' : '')
    const group = this.#oneOf(GROUPS)
    if (group !== undefined) {
      if (proto !== '' && proto !== 'ether') this.#fail(`"${proto} ${group}" is not supported`, -1)
      return group === 'broadcast' ? test.broadcast : test.multicast
    }
    const start = this.#at
    const direction = this.#direction()
    const kind = this.#oneOf(KINDS) ?? ''
    if (this.#at === start && proto !== 'ether') {
      return proto === '' ? this.#fail('expected a keyword or a value') : test.protocol(proto)
    }
    return this.#value({ proto, direction, kind })
  }

  #direction(): test.Direction {
    if (this.#take('src')) {
      if (!this.#alternative('or', 'dst')) return this.#alternative('and', 'dst') ? 'both' : 'src'
      return 'any'
    }
    return this.#take('dst') ? 'dst' : 'any'
  }

  /** `or dst`, `and dst`: the long spellings of directions. */
  #alternative(conjunction: string, word: string): boolean {
    const next = this.#tokens[this.#at + 1]?.text
    if (this.#peek() !== conjunction || next !== word) return false
    const after = this.#tokens[this.#at + 2]?.text
    if (after === undefined || (KEYWORDS.has(after) && !KINDS.has(after))) return false
    this.#at += 2
    return true
  }

  #value(qualifiers: Qualifiers): test.Test {
    const word = this.#peek()
    if (word === undefined || !(VALUE.test(word) || kindNames(qualifiers.kind, word))) {
      return this.#fail('expected a value')
    }
    this.#last = qualifiers
    try {
      const wanted = test.value(qualifiers, word)
      this.#at++
      return wanted
    } catch (error) {
      return this.#fail(error instanceof Error ? error.message : String(error))
    }
  }

  #vlan(): test.Test {
    return /^\d+$/.test(this.#peek() ?? '') ? test.vlan(this.#number(4095)) : test.tagged
  }

  #number(limit: number): number {
    const word = this.#peek() ?? ''
    const number = Number(word)
    if (!/^\d+$/.test(word) || number > limit) this.#fail(`expected a number up to ${limit}`)
    this.#at++
    return number
  }

  #peek(): string | undefined {
    return this.#tokens[this.#at]?.text
  }

  #take(word: string): boolean {
    if (this.#peek() !== word) return false
    this.#at++
    return true
  }

  #oneOf(words: ReadonlySet<string>): string | undefined {
    const word = this.#peek()
    if (word === undefined || !words.has(word)) return undefined
    this.#at++
    return word
  }

  #fail(what: string, back = 0): never {
    const token = this.#tokens[this.#at + back]
    const where = token === undefined ? 'at its end' : `at "${token.text}" (${token.column})`
    throw new StackError('bad-argument', `filter "${this.#text}": ${what} ${where}`)
  }
}
