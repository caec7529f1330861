/** What connections carried, by flow: an entry of a conntrack, in one direction. */
export class ConntrackCounters {
  readonly packets: Uint32Array
  readonly octets: Float64Array

  constructor(entriesMax: number) {
    this.packets = new Uint32Array(entriesMax * 2)
    this.octets = new Float64Array(entriesMax * 2)
  }

  get bytes(): number {
    return this.packets.byteLength + this.octets.byteLength
  }

  reset(entry: number): void {
    this.packets.fill(0, entry * 2, entry * 2 + 2)
    this.octets.fill(0, entry * 2, entry * 2 + 2)
  }

  count(flow: number, octets: number): void {
    this.packets[flow]!++
    this.octets[flow]! += octets
  }

  /** True if a packet of the entry was counted. */
  isSeen(entry: number): boolean {
    return this.packets[entry * 2]! + this.packets[entry * 2 + 1]! > 0
  }
}
