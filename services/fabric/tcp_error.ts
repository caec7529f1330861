/** Why a TCP connection of an in-memory host is over, by the names that Node's sockets use. */

export type TcpErrorCode = 'ECONNREFUSED' | 'ECONNRESET' | 'ETIMEDOUT' | 'EHOSTUNREACH'

/** What Node's own sockets would have said. */
export class TcpError extends Error {
  readonly code: TcpErrorCode

  constructor(code: TcpErrorCode, where: string) {
    super(`${code} ${where}`)
    this.name = 'TcpError'
    this.code = code
  }
}
