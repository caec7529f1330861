/**
 * What a DHCP answer says, the most important first: what does not fit in the client's messages is
 * left out from the end.
 */
import type { Address } from '../../stack/address.ts'
import { EVERYWHERE, wordMask } from '../../stack/address.ts'
import { type DhcpMessage, MessageType, Option } from '../../stack/udp/dhcp.ts'
import * as value from '../../stack/udp/dhcp_values.ts'
import type { DhcpState } from '../state.ts'

type Options = readonly (readonly [code: number, value: Uint8Array])[]

/** RFC 2131 §4.4.5. */
const T1 = 0.5
const T2 = 0.875

/** @param why - of a NAK, for the client's log. */
export function replyOptions(
  state: DhcpState,
  type: number,
  message: DhcpMessage,
  why: string,
): Options {
  const { server, leaseMs } = state
  const id = message.options.get(Option.ClientId)
  const head: Options = [
    [Option.Type, value.octet(type)],
    [Option.Server, value.addresses([server])],
    // Whoever has the same MAC tells by it that this is for another client (RFC 6842).
    ...(id === undefined ? [] : [[Option.ClientId, id] as const]),
  ]
  if (type === MessageType.Nak) return [...head, [Option.Message, value.text(why)]]
  const seconds = Math.round(leaseMs / 1000)
  const times: Options =
    message.type === MessageType.Inform
      ? []
      : [
          [Option.LeaseTime, value.word(seconds)],
          [Option.RenewalTime, value.word(Math.floor(seconds * T1))],
          [Option.RebindingTime, value.word(Math.floor(seconds * T2))],
        ]
  return [...head, ...times, ...networkOptions(state)]
}

function networkOptions(state: DhcpState): Options {
  const { subnet, router, mtuBytes, dns, search, routes } = state
  const mask = value.word(wordMask(subnet.bits))
  const list = (code: number, of: readonly Address[]): Options =>
    of.length === 0 ? [] : [[code, value.addresses(of)]]
  // Who knows option 121 does not look at option 3 (RFC 3442).
  const all = [...routes, ...(router === undefined ? [] : [{ to: EVERYWHERE[4], via: router }])]
  const [domain] = search
  return [
    [Option.Mask, mask],
    ...list(Option.Router, router === undefined ? [] : [router]),
    ...list(Option.Dns, dns),
    [Option.Mtu, value.half(mtuBytes)],
    ...(domain === undefined ? [] : ([[Option.Domain, value.text(domain)]] as const)),
    ...(routes.length === 0 ? [] : ([[Option.Routes, value.routes(all)]] as const)),
    ...(search.length === 0 ? [] : ([[Option.Search, value.search(search)]] as const)),
  ]
}
