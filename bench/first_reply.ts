/**
 * A program of the benchmark: from a command that starts a web server to the first octet that the
 * server answers. It runs where the server's clients are, and its clock starts when it is up.
 *
 * ```text
 *   node first_reply.js ADDRESS COMMAND...
 * ```
 *
 * It asks when the command has ended, as a script would, and again at once where it is refused: a
 * started program may not listen yet. Printed is JSON, milliseconds from the start of the command.
 */
import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const PORT = 80
const AGAIN_MS = 1
const LIMIT_MS = 20_000
const REQUEST = 'GET / HTTP/1.0\r\n\r\n'

export interface FirstReply {
  /** Until the command had ended. */
  readonly startMs: number
  readonly replyMs: number
}

function run([program, ...args]: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`${program} ended with ${code}`))
    })
  })
}

/** True if it answered. */
function ask(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port: PORT, noDelay: true })
    const end = (answered: boolean): void => {
      socket.destroy()
      resolve(answered)
    }
    socket.once('connect', () => socket.write(REQUEST))
    socket.once('data', () => end(true))
    socket.once('error', () => end(false))
    socket.once('close', () => end(false))
  })
}

async function main([address, ...command]: readonly string[]): Promise<void> {
  const begunMs = performance.now()
  await run(command)
  const startMs = performance.now() - begunMs
  while (!(await ask(address!))) {
    if (performance.now() - begunMs > LIMIT_MS) throw new Error(`no reply in ${LIMIT_MS} ms`)
    await sleep(AGAIN_MS)
  }
  const result: FirstReply = { startMs, replyMs: performance.now() - begunMs }
  process.stdout.write(`${JSON.stringify(result)}\n`)
}

await main(process.argv.slice(2))
