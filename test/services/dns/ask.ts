/** Questions to a gateway from sandboxes in memory, read by a codec that is not ours. */
import dns from 'dns-packet'
import type { Sandbox } from '../../../services/fabric/sandbox.ts'

export type Packet = dns.DecodedPacket & { readonly flag_aa?: boolean; readonly rcode?: string }

export interface AskOptions {
  readonly type?: string
  readonly id?: number
  readonly flags?: number
  readonly edns?: number
}

/** The octets of a query. */
export function query(name: string, options: AskOptions = {}): Buffer {
  const { type = 'A', id = 7, flags = dns.RECURSION_DESIRED, edns } = options
  const opt = { type: 'OPT', name: '.', udpPayloadSize: edns, flags: 0, options: [] }
  return dns.encode({
    type: 'query',
    id,
    flags,
    questions: [{ name, type: type as dns.RecordType }],
    ...(edns !== undefined && { additionals: [opt as unknown as dns.Answer] }),
  })
}

/** Send octets to port 53 of `gateway`, and read what comes back. Rejects if nothing does. */
export async function askRaw(
  from: Sandbox,
  gateway: string,
  message: Uint8Array,
  timeoutMs = 20_000,
): Promise<Packet> {
  const socket = from.udp()
  try {
    socket.send(message, gateway, 53)
    const { data } = await socket.receive({ timeoutMs })
    return dns.decode(Buffer.from(data)) as Packet
  } finally {
    socket.close()
  }
}

export function ask(
  from: Sandbox,
  gateway: string,
  name: string,
  options: AskOptions = {},
): Promise<Packet> {
  return askRaw(from, gateway, query(name, options))
}

/** Response code and the data of answers: what most tests want to see. */
export async function answers(
  from: Sandbox,
  gateway: string,
  name: string,
  type = 'A',
): Promise<string> {
  return text(await ask(from, gateway, name, { type }))
}

export function text(packet: Packet): string {
  const rows = (packet.answers ?? []).map((answer) => {
    const { data } = answer as { data: unknown }
    if (answer.type === 'SRV') {
      const { target, port, weight } = data as { target: string; port: number; weight: number }
      return `${target}:${port}/${weight}`
    }
    return typeof data === 'string' ? data : String(data)
  })
  return [packet.rcode, ...rows].join(' ')
}
