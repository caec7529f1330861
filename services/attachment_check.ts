/** Whether an attachment is inside its container what it was made, and what is wrong if not. */
import { formatPrefix, parsePrefix } from '../stack/address.ts'
import type { Attachment } from './attachments.ts'
import type { Links } from './links.ts'

/** What is missing, in words; empty: nothing, or these links have no inside to look at. */
export function faultsInside(attachment: Attachment, links: Pick<Links, 'lookInside'>): string[] {
  if (links.lookInside === undefined) return []
  const { netns, interfaceName, addresses, routes } = attachment
  const found = links.lookInside(netns, interfaceName)
  if (found === undefined) return [`there is no ${interfaceName} in ${netns}`]
  if (!found.up) return [`${interfaceName} is down in ${netns}`]
  const there = found.addresses.map((text) => formatPrefix(parsePrefix(text)))
  const missing = addresses
    .filter(({ address }) => !there.includes(address))
    .map(({ address }) => `${interfaceName} has no address ${address}`)
  const unrouted = routes
    .filter(({ to, via }) => to.endsWith('/0') && !found.defaultRoutes.includes(familyOf(via)))
    .map(({ via }) => `${interfaceName} has no default route via ${via}`)
  return [...missing, ...unrouted]
}

function familyOf(text: string): 4 | 6 {
  return text.includes(':') ? 6 : 4
}
