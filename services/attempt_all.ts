/** Giving back what depends on nothing else's being given back: all is attempted. */

/** In this order. @throws AggregateError of all that failed, not nested. */
export async function attemptAll(attempts: readonly (() => unknown)[]): Promise<void> {
  const failures: unknown[] = []
  for (const attempt of attempts) {
    try {
      await attempt()
    } catch (error) {
      if (error instanceof AggregateError) failures.push(...error.errors)
      else failures.push(error)
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'not all could be removed')
}
