/** Giving back what depends on nothing else's being given back: all is attempted, in this order. */

/** @throws AggregateError of all that failed, not nested. */
export async function attemptAll(attempts: readonly (() => unknown)[]): Promise<void> {
  const failures: unknown[] = []
  for (const attempt of attempts) {
    try {
      await attempt()
    } catch (error) {
      failures.push(error)
    }
  }
  refuseAny(failures)
}

/** The same without waiting. @throws AggregateError. */
export function attemptEach(attempts: readonly (() => void)[]): void {
  const failures: unknown[] = []
  for (const attempt of attempts) {
    try {
      attempt()
    } catch (error) {
      failures.push(error)
    }
  }
  refuseAny(failures)
}

function refuseAny(failures: readonly unknown[]): void {
  if (failures.length === 0) return
  const all = failures.flatMap((one) => (one instanceof AggregateError ? one.errors : [one]))
  throw new AggregateError(all, 'not all could be removed')
}
