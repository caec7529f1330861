/** Names of sandboxes for those that share a network with them. */
import type { Controller } from '../controller.ts'

/** Names that a sandbox can use, with what they stand for: as its name service tells them. */
export function namesOf(controller: Controller, sandbox: string): Map<string, string> {
  const { sandboxes } = controller.inspect()
  const own = sandboxes.find(({ name }) => name === sandbox)
  const found = new Map<string, string>()
  for (const { network } of own?.endpoints ?? []) {
    for (const { name, endpoints } of sandboxes) {
      const there = endpoints.find((endpoint) => endpoint.network === network)
      const address = there?.addresses[0]
      if (there === undefined || address === undefined) continue
      for (const each of [name, ...there.aliases]) {
        if (!found.has(each)) found.set(each, address.slice(0, address.indexOf('/')))
      }
    }
  }
  return found
}
