/** The demo's voice: what it does in plain words, the command, and what came of it. */
import { print, style } from '../cli/output.ts'

export class Narrator {
  #step = 0

  title(text: string): void {
    print(`\n${style('bold', text)}`)
  }

  say(text: string): void {
    print(text)
  }

  /** The next numbered step. */
  step(text: string): void {
    print(`\n${style('bold', `${++this.#step}. ${text}`)}`)
  }

  /** A command as it could be typed. */
  command(text: string): void {
    print(style('cyan', `   $ ${text}`))
  }

  /** What a command said. */
  output(text: string): void {
    const lines = text.trimEnd().split('\n')
    print(lines.map((line) => `   ${line}`.trimEnd()))
  }

  result(text: string): void {
    print(style('green', `   ✓ ${text}`))
  }
}
