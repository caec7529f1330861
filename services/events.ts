/**
 * Log lines to whoever follows the daemon (`GET /v1/events`), beside stderr.
 *
 * Listeners get whole lines, JSON as pino writes it, as they are logged; nothing is kept for those
 * who come later. A listener that cannot keep up loses lines on its own side.
 */
export class Events {
  readonly #listeners = new Set<(line: string) => void>()

  /** Returns how to leave. Idempotent. */
  subscribe(listener: (line: string) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** As pino's destination: one line with its newline. */
  write(line: string): void {
    for (const listener of this.#listeners) listener(line)
  }
}
