/** What can go wrong outside the data path, by a code that scripts may match. */
export type ErrorCode =
  | 'bad-argument'
  | 'bad-address'
  | 'bad-config'
  | 'exists'
  | 'not-found'
  | 'exhausted'
  | 'unsupported'
  | 'syscall'
  | 'daemon'

export class StackError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'StackError'
    this.code = code
  }
}
