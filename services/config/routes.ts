/** The part of a file about static routes. */
import type { Faults, Path } from './faults.ts'
import type { RouteConfig } from './model.ts'
import { describe, parseEntry, routeSchema } from './schema.ts'

/** Entries without faults; `note` is told where each was written. */
export function parseRoutes(
  value: unknown,
  faults: Faults,
  note: (route: RouteConfig, path: Path) => void,
): RouteConfig[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) {
    faults.at(['routes'], `expected a list of routes, got ${describe(value)}`)
    return []
  }
  const routes: RouteConfig[] = []
  for (const [i, item] of value.entries()) {
    const path: Path = ['routes', i]
    const entry = parseEntry(routeSchema, item, path, faults)
    if (entry === undefined) continue
    const route = { to: entry.to, via: entry.via, blackhole: entry.blackhole ?? false }
    note(route, path)
    routes.push(route)
  }
  return routes
}
