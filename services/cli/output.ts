/**
 * What a command writes: results on stdout, everything else on stderr.
 *
 * A reader that goes away (`tapline fdb | head -1`) ends the command quietly, as it ends any Unix
 * tool. Colour is for terminals only, and not where NO_COLOR is set (https://no-color.org).
 */

let lostOutput = (code: number): void => process.exit(code)

/**
 * End quietly when stdout's reader is gone, with 1 if stdout cannot be written to; go on without
 * stderr, as there is nowhere to say so. Call once at start.
 */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return lostOutput(0)
    complain(`stdout: ${error.message}`)
    lostOutput(1)
  })
  process.stderr.on('error', () => undefined)
}

/** For commands that have something to clean up: what to do when stdout cannot be written to. */
export function onLostOutput(run: () => void): void {
  lostOutput = run
}

export function print(lines: string | readonly string[]): void {
  const text = typeof lines === 'string' ? lines : lines.join('\n')
  if (text !== '' || typeof lines === 'string') process.stdout.write(`${text}\n`)
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`)
}

export function complain(message: string): void {
  process.stderr.write(`tapline: ${message}\n`)
}

const Style = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const

/** Colour the text if `stream` is a terminal that wants colour. */
export function style(
  name: keyof typeof Style,
  text: string,
  stream: { isTTY?: boolean } = process.stdout,
): string {
  return wantsColor(stream) ? `\x1b[${Style[name]}m${text}\x1b[0m` : text
}

function wantsColor(stream: { isTTY?: boolean }): boolean {
  const { NO_COLOR, TERM } = process.env
  return stream.isTTY === true && !NO_COLOR && TERM !== 'dumb'
}

/**
 * Control characters are spelled out: names and messages may come from a file or from the network,
 * and must not steer a terminal.
 */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
}

/** `12:34:56`, local time. */
export function timeOfDay(time: Date): string {
  const parts = [time.getHours(), time.getMinutes(), time.getSeconds()]
  return parts.map((part) => String(part).padStart(2, '0')).join(':')
}
