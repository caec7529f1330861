/** What a daemon streams as lines, until it ends, or this command is interrupted. */
import { createInterface, type Interface } from 'node:readline'
import type { Stream } from '../client.ts'

export function linesOf(stream: Stream): Interface {
  const lines = createInterface({ input: stream.body })
  const stop = (): void => {
    // Closing the stream alone is no end to whoever reads the lines.
    lines.close()
    stream.close()
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  return lines
}
