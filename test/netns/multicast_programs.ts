/**
 * What tests of multicast share: programs that join groups and send to them, of both families, by
 * their kernel's own IGMP and MLD. They run in sandboxes whose interface is `eth0`.
 */

export const GROUPS = ['239.1.2.3', 'ff05::1:3'] as const
const PORT = 5007
/** So much more than headers that octets tell how many there were. */
export const PAYLOAD_BYTES = 1200
/** Datagrams to a group at a time: so many that a socket holds all of them. */
export const COUNT = 100
/** Of a socket's buffer; the kernel doubles it for its own account of each datagram. */
const BUFFER_BYTES = 212_992
/** Our questions are asked at once, and believed in after ten seconds. */
export const SETTLED_MS = 11_000
/** Frames that a host gets anyway while groups are sent: questions, neighbor discovery. */
export const FEW = 20

/** Joins and leaves groups by the lines `+GROUP` and `-GROUP`; an empty line: how many came. */
export const RECEIVER: string = `
  const four = dgram.createSocket({ type: 'udp4', reuseAddr: true })
  const six = dgram.createSocket({ type: 'udp6', reuseAddr: true, ipv6Only: true })
  const counts = { four: 0, six: 0 }
  for (const socket of [four, six]) {
    socket.on('listening', () => socket.setRecvBufferSize(${BUFFER_BYTES}))
  }
  four.on('message', () => counts.four++).bind(${PORT}, '0.0.0.0')
  six.on('message', () => counts.six++).bind(${PORT}, '::', () => tell('listens'))
  told((line) => {
    if (line === '') return tell(counts)
    const group = line.slice(1)
    const [socket, on] = group.includes(':') ? [six, '::%eth0'] : [four, args[0]]
    if (line[0] === '+') socket.addMembership(group, on)
    else socket.dropMembership(group, on)
    tell('done')
  })
`

/** Sends that many datagrams to the group of each line, a few at a time. */
export const SENDER: string = `
  const payload = 'x'.repeat(${PAYLOAD_BYTES})
  const four = dgram.createSocket('udp4')
  const six = dgram.createSocket('udp6')
  four.bind(0, () => four.setMulticastTTL(4))
  six.bind(0, () => { six.setMulticastTTL(4); six.setMulticastInterface('::%eth0'); tell('ready') })
  told((group) => {
    const socket = group.includes(':') ? six : four
    let left = ${COUNT}
    const next = () => {
      for (let i = 0; i < 10 && left > 0; i++, left--) socket.send(payload, ${PORT}, group)
      if (left > 0) setTimeout(next, 2)
      else setTimeout(() => tell('sent'), 200)
    }
    next()
  })
`
