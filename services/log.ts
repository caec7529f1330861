/** Where the services say what happens: what pino offers, and no more than is used of it. */
export interface Log {
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
}

/** Says nothing. */
export const QUIET: Log = { info: () => {}, warn: () => {}, error: () => {} }
