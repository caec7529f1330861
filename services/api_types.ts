/** What goes over the API's socket, for both of its sides: api.ts and client.ts. */
import { type ErrorCode, StackError } from '../stack/errors.ts'
import type { StepReport } from './diff.ts'

/** Body of every answer that is not a success. */
export interface ApiError {
  readonly error: {
    readonly code: ErrorCode
    readonly message: string
    readonly faults?: readonly string[]
  }
}

export interface ApplyRequest {
  /** Name of the file, for faults and logs. */
  readonly file: string
  /** What is in it. */
  readonly text: string
  /** True: say what would be done, and do nothing. */
  readonly dryRun: boolean
}

/** Answer of `/v1/apply`. */
export interface ApplyAnswer {
  /** What was done, or with `dryRun` would be, in order. */
  readonly steps: readonly StepReport[]
}

/** Answer of `/v1/daemon`. */
export interface DaemonInfo {
  readonly name: string
  readonly pid: number
  readonly version: string
  readonly state: 'starting' | 'ready' | 'stopping'
  /** Configuration file, as an absolute path. */
  readonly file: string
  readonly socket: string
  /** What carries the frames: `tap (io_uring)`. */
  readonly links: string
  /** RFC 3339. */
  readonly startedAt: string
}

/** A refused configuration: every fault as a line `FILE:line:column: text`. */
export class ConfigFaults extends StackError {
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    super('bad-config', faults.length === 1 ? faults[0]! : `${faults.length} faults in the file`)
    this.faults = faults
  }
}
