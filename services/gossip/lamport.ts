/** Lamport's clock: orders what happens on several nodes, without their clocks. */

/** Clocks of others beyond it are nonsense; a number holds integers exactly to twice of it. */
export const LAMPORT_MAX: number = 2 ** 52

export class LamportClock {
  /** Of what happens next. */
  time = 1

  /** The time for something that happens now. */
  tick(): number {
    return this.time++
  }

  /** Something happened elsewhere at that time: whatever happens here from now on is later. */
  witness(time: number): void {
    if (time >= this.time && time < LAMPORT_MAX) this.time = time + 1
  }
}
