/**
 * Programs inside sandboxes that a test talks with: a line in, a line out. They are Node.js scripts
 * in one string, so that nothing but Node.js has to be there.
 */
import type { ChildProcess } from 'node:child_process'
import type { Lab } from './lab.ts'

const LINE_MS = 60_000

export class Talk {
  readonly child: ChildProcess
  readonly #lines: string[] = []
  #waiting: ((line: string) => void) | undefined

  /** Start it; with `args` as `process.argv.slice(1)`. It ends with the lab. */
  constructor(lab: Lab, sandbox: string, code: string, ...args: string[]) {
    this.child = lab.spawn(sandbox, process.execPath, '-e', PRELUDE + code, ...args)
    let rest = ''
    this.child.stdout!.on('data', (data: Buffer) => {
      const lines = (rest + data.toString()).split('\n')
      rest = lines.pop()!
      for (const line of lines) this.#heard(line)
    })
    this.child.stderr!.on('data', (data: Buffer) => this.#heard(`stderr: ${data.toString()}`))
  }

  say(line: string): void {
    this.child.stdin!.write(`${line}\n`)
  }

  /** The next line that it says. @throws Error if none comes. */
  async hear(): Promise<string> {
    const line = this.#lines.shift()
    if (line !== undefined) return line
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('nothing was said')), LINE_MS)
      this.#waiting = (heard) => {
        clearTimeout(timer)
        this.#waiting = undefined
        resolve(heard)
      }
    })
  }

  async ask<T>(line: string): Promise<T> {
    this.say(line)
    return JSON.parse(await this.hear()) as T
  }

  #heard(line: string): void {
    if (this.#waiting === undefined) this.#lines.push(line)
    else this.#waiting(line)
  }
}

/** What every program has: modules, a block of octets that differ, and a way to be told. */
const PRELUDE = `
  const [net, dgram, readline] = ['net', 'dgram', 'readline'].map((name) => require(name))
  const args = process.argv.slice(1)
  const BLOCK = Buffer.alloc(1 << 20)
  for (let i = 0; i < BLOCK.length; i++) BLOCK[i] = Math.imul(i, 2654435761) >>> 13
  const tell = (value) => console.log(JSON.stringify(value))
  const told = (hear) => readline.createInterface(process.stdin).on('line', hear)
  `

/** What {@link SINK} tells at the end of its connection. */
export interface Received {
  readonly bytes: number
  /** Every octet was the one that was sent there. */
  readonly intact: boolean
  /** The longest time without any. */
  readonly pauseMs: number
}

/** Takes one transfer at port `args[0]`; says when it listens, and with each line how much came. */
export const SINK = `
  let [bytes, intact, pauseMs, lastMs] = [0, true, 0, 0]
  net.createServer((socket) => {
    socket.on('data', (data) => {
      const nowMs = performance.now()
      if (lastMs > 0) pauseMs = Math.max(pauseMs, nowMs - lastMs)
      lastMs = nowMs
      for (let at = 0; at < data.length; ) {
        const from = bytes % BLOCK.length
        const count = Math.min(data.length - at, BLOCK.length - from)
        if (BLOCK.compare(data, at, at + count, from, from + count) !== 0) intact = false
        at += count
        bytes += count
      }
    })
    socket.on('end', () => tell({ bytes, intact, pauseMs }))
    socket.on('error', (error) => tell({ bytes, intact: error.code, pauseMs }))
  }).listen({ port: Number(args[0]), host: '::' }, () => tell('listens'))
  told(() => tell({ bytes, intact, pauseMs }))
`

/** Sends whole blocks to address `args[0]`, port `args[1]`, until it is told to end. */
export const SOURCE = `
  const socket = net.connect({ host: args[0], port: Number(args[1]) })
  let [bytes, ending] = [0, false]
  const send = () => {
    for (let more = true; more && !ending; bytes += BLOCK.length) more = socket.write(BLOCK)
  }
  socket.on('connect', send).on('drain', send)
  socket.on('error', (error) => tell({ bytes, error: error.code }))
  told(() => {
    ending = true
    socket.end(() => tell({ bytes, error: null }))
  })
`

/** A UDP server at port `args[0]` that answers every datagram with the name `args[1]`. */
export const NAMED_UDP = `
  const socket = dgram.createSocket('udp6')
  let count = 0
  socket.on('message', (message, from) => {
    count++
    socket.send(args[1], from.port, from.address)
  })
  socket.bind(Number(args[0]), () => tell('listens'))
  told(() => tell(count))
`

/**
 * One UDP socket: sends a datagram to address `args[0]`, port `args[1]`, for each line, and tells
 * who answered it; an empty name if nobody did in a second.
 */
export const ASK_UDP = `
  const socket = dgram.createSocket(args[0].includes(':') ? 'udp6' : 'udp4')
  let timer
  socket.on('message', (message) => {
    clearTimeout(timer)
    tell(message.toString())
  })
  told((line) => {
    timer = setTimeout(() => tell(''), 1000)
    socket.send(line, Number(args[1]), args[0])
  })
`

/** Sends back whatever comes in by TCP connections to port `args[0]`. */
export const ECHO = `
  net.createServer((socket) => socket.on('error', () => {}).pipe(socket))
    .listen({ port: Number(args[0]), host: '::' }, () => tell('listens'))
`

/** What {@link HOLD} tells when it is asked. */
export interface Held {
  /** Answers that the connection with the fewest had, and all together. */
  readonly least: number
  readonly all: number
  /** Connections that ended, or had an answer which was not the last question. */
  readonly broken: number
}

/**
 * Holds `args[2]` connections to address `args[0]`, port `args[1]`, and asks by each again and
 * again, every 20 ms if it has the last answer. Says when all are open.
 */
export const HOLD = `
  const links = []
  const opened = () => {
    if (links.every((link) => link.open)) tell('open')
  }
  for (let i = 0; i < Number(args[2]); i++) {
    const link = { open: false, broken: false, asked: '', answer: '', count: 0 }
    links.push(link)
    link.socket = net.connect({ host: args[0], port: Number(args[1]) }, () => {
      link.open = true
      opened()
    })
    const broke = () => { link.broken = true }
    link.socket.on('error', broke).on('close', broke).on('data', (data) => {
      link.answer += data
      if (link.answer.length < link.asked.length) return
      if (link.answer !== link.asked) link.broken = true
      link.asked = link.answer = ''
      link.count++
    })
  }
  setInterval(() => {
    for (const [i, link] of links.entries()) {
      if (!link.open || link.broken || link.asked !== '') continue
      link.asked = i + ' ' + link.count + '.'
      link.socket.write(link.asked)
    }
  }, 20)
  told(() => {
    const counts = links.map(({ count }) => count)
    const broken = links.filter((link) => link.broken).length
    tell({ least: Math.min(...counts), all: counts.reduce((a, b) => a + b), broken })
  })
`

/** A TCP server at port `args[0]` that answers every dot with its name, `args[1]`, and a dot. */
export const NAMED_TCP = `
  net.createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (data) => socket.write((args[1] + '.').repeat(data.length)))
  }).listen({ port: Number(args[0]), host: '::' }, () => tell('listens'))
`

/** One connection of {@link KEEP}. */
export interface Kept {
  /** Who answered first, and whether anybody else ever did. */
  readonly name: string
  readonly moved: boolean
  /** Answers that it had. */
  readonly count: number
  /** It was reset, or closed. */
  readonly broken: boolean
}

/**
 * Holds `args[2]` connections to address `args[0]`, port `args[1]`, and asks by each who is there,
 * every 50 ms if it has the last answer. Says when each has had one; tells of all when asked.
 */
export const KEEP = `
  const links = []
  let answered = 0
  for (let i = 0; i < Number(args[2]); i++) {
    const link = { name: '', moved: false, count: 0, broken: false, heard: '', asked: 0 }
    link.socket = net.connect({ host: args[0], port: Number(args[1]) })
    const broke = () => { link.broken = true }
    link.socket.on('error', broke).on('close', broke).on('data', (data) => {
      const names = (link.heard + data).split('.')
      link.heard = names.pop()
      for (const name of names) {
        if (link.count++ === 0) {
          link.name = name
          if (++answered === links.length) tell('answered')
        }
        if (name !== link.name) link.moved = true
      }
    })
    links.push(link)
  }
  setInterval(() => {
    for (const link of links) {
      if (link.broken || link.asked > link.count) continue
      link.asked++
      link.socket.write('.')
    }
  }, 50)
  told(() => tell(links.map(({ name, moved, count, broken }) => ({ name, moved, count, broken }))))
`

/**
 * For each line, a number: makes so many connections to address `args[0]`, port `args[1]`, up to 32
 * at once, each closed when it was answered. Tells how many each name answered; `-`: nobody did.
 */
export const COUNT = `
  told((line) => {
    const counts = {}
    let [left, open] = [Number(line), 0]
    const next = () => {
      if (left === 0) return open === 0 && tell(counts)
      left--
      open++
      let name = '-'
      const socket = net.connect({ host: args[0], port: Number(args[1]) }, () => socket.write('.'))
      socket.setTimeout(3000, () => socket.destroy())
      socket.on('error', () => {}).on('data', (data) => {
        name = String(data).split('.')[0]
        socket.destroy()
      })
      socket.on('close', () => {
        counts[name] = (counts[name] || 0) + 1
        open--
        next()
      })
    }
    for (let i = Math.min(32, left); i > 0; i--) next()
  })
`
