/**
 * Another node as the receiver of encrypted datagrams knows it: the epochs that it sends in, each
 * with its key and the numbers that were seen.
 *
 * A new epoch counts only once a datagram of it has opened, and must be later than any before, so
 * that what was recorded before a node started again cannot be played back. Trying one costs a
 * derivation of keys: {@link TRIES_PER_S} a node. A few epochs are kept, since datagrams of the one
 * before may still be on their way.
 */
import { TokenBucket } from '../ip/token_bucket.ts'
import { ReplayWindow } from './replay.ts'
import { type Cipher, type Epoch, isLater } from './seal.ts'

/** Epochs of one node that are kept. */
const SESSIONS_MAX = 4
/** New epochs that are tried for one node. */
const TRIES_PER_S = 16

export class Session {
  readonly keyId: number
  readonly epoch: Epoch
  readonly cipher: Cipher
  readonly window: ReplayWindow = new ReplayWindow()

  constructor(keyId: number, epoch: Epoch, cipher: Cipher) {
    this.keyId = keyId
    this.epoch = epoch
    this.cipher = cipher
  }
}

export class SealedPeer {
  #sessions: readonly Session[] = []
  #latest: Epoch = { hi: 0, lo: 0 }
  readonly #tries = new TokenBucket({ perS: TRIES_PER_S, burst: TRIES_PER_S })

  find(keyId: number, hi: number, lo: number): Session | undefined {
    const sessions = this.#sessions
    for (let i = 0; i < sessions.length; i++) {
      const { epoch } = sessions[i]!
      if (epoch.lo === lo && epoch.hi === hi && sessions[i]!.keyId === keyId) return sessions[i]
    }
    return undefined
  }

  /** True if the epoch is later than all that opened. */
  isNew(epoch: Epoch): boolean {
    return isLater(epoch, this.#latest)
  }

  mayTry(nowMs: number): boolean {
    return this.#tries.take(nowMs)
  }

  /** A datagram of it has opened. */
  add(session: Session): void {
    this.#latest = session.epoch
    this.#sessions = [session, ...this.#sessions].slice(0, SESSIONS_MAX)
  }

  /** Nothing that was sealed with the key opens any more. */
  forgetKey(keyId: number): void {
    this.#sessions = this.#sessions.filter((session) => session.keyId !== keyId)
  }
}
