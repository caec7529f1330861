/** Names that a sandbox can use, with what they stand for: the name service's own. */
import type { Controller } from '../controller.ts'

export function namesOf(controller: Controller, sandbox: string): Map<string, string> {
  const { names, resolvers } = controller.names()
  const found = new Map<string, string>()
  for (const network of resolvers.find((each) => each.sandbox === sandbox)?.networks ?? []) {
    for (const { name, network: where, addresses } of names) {
      const [address] = addresses
      if (where === network && address !== undefined && !found.has(name)) found.set(name, address)
    }
  }
  return found
}
