/** The part of a file about static routes. */
import type { Faults, Path } from './faults.ts'
import type { RouteConfig } from './model.ts'
import { parseEntry, parseList, routeSchema } from './schema.ts'

/** Entries without faults; `note` is told where each was written. */
export function parseRoutes(
  value: unknown,
  faults: Faults,
  note: (route: RouteConfig, path: Path) => void,
): RouteConfig[] {
  const o = { path: ['routes'], faults, what: 'routes', note }
  return parseList(value, o, (item, path) => {
    const entry = parseEntry(routeSchema, item, path, faults)
    return entry && { to: entry.to, via: entry.via, blackhole: entry.blackhole ?? false }
  })
}
