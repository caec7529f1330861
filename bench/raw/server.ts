/**
 * The server's end of a connection benchmark: it answers segments and remembers nothing.
 *
 * ```text
 *   SYN               -> SYN, ACK
 *   an octet          -> an octet, FIN      the server closes first
 *   FIN               -> ACK; FIN too if nothing was asked
 *   anything else     -> nothing
 * ```
 *
 * All that an answer needs is in the segment that it answers: its sequence number is what the
 * other side has acknowledged, and that of a SYN+ACK follows from the SYN's. So whatever is lost
 * on either way is made good by the other side, which sends its segment again, and no number of
 * connections is too many.
 */
import { Flag } from '../../stack/ip/tcp.ts'
import { finish, flags, isSegment, octets, putReply, ack as seenAck, seq } from './segment.ts'
import type { RawSocket } from './socket.ts'

/** From the sequence number of a SYN to that of its answer: anything that tells them apart. */
const SEQ_DISTANCE = 0x1234_5678
const WAIT_MS = 1000

/** Answer what has arrived. */
function answerAll(socket: RawSocket): void {
  for (let at = socket.next(); at >= 0; at = socket.next()) {
    if (isSegment(socket.ring, at, socket.bytes)) answer(socket, at)
    socket.release()
  }
  socket.flush()
}

/** Answer for ever. */
export function serve(socket: RawSocket): void {
  for (;;) {
    socket.wait(WAIT_MS)
    answerAll(socket)
  }
}

function answer(socket: RawSocket, at: number): void {
  const { ring } = socket
  const asked = flags(ring, at)
  if ((asked & Flag.Rst) !== 0) return
  const next = seq(ring, at) + octets(ring, at) + ((asked & (Flag.Syn | Flag.Fin)) === 0 ? 0 : 1)
  if ((asked & Flag.Syn) !== 0) {
    reply(socket, at, seq(ring, at) + SEQ_DISTANCE, next, Flag.Syn | Flag.Ack)
  } else if (octets(ring, at) > 0) {
    reply(socket, at, seenAck(ring, at), next, Flag.Fin | Flag.Psh | Flag.Ack)
  } else if ((asked & Flag.Fin) !== 0) {
    const unasked = ((seenAck(ring, at) - seq(ring, at)) | 0) === SEQ_DISTANCE
    reply(socket, at, seenAck(ring, at), next, unasked ? Flag.Fin | Flag.Ack : Flag.Ack)
  }
}

function reply(
  socket: RawSocket,
  at: number,
  seqNumber: number,
  ackNumber: number,
  flagBits: number,
): void {
  putReply(socket.out, socket.room, socket.ring, at)
  socket.queue(finish(socket.out, socket.room, seqNumber, ackNumber, flagBits))
}
