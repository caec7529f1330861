/** Bodies of requests on a unix socket: text, bounded. */
import type { IncomingMessage } from 'node:http'

/**
 * The whole of it as text.
 *
 * @param tooLong - makes what is thrown for more than `bytesMax` octets, of what is to be said.
 */
export async function readBody(
  request: IncomingMessage,
  bytesMax: number,
  tooLong: (message: string) => Error,
): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bytesMax) throw tooLong(`a body has at most ${bytesMax} octets`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
