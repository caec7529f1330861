/**
 * The lab of a documentation page, taken out of its markdown and run as a reader would paste it.
 *
 * What a page shows is read by this convention:
 *
 *     ```yaml      whose first line is "# NAME.yaml": saved under that name
 *     ```sh        commands
 *     ```text      right behind one: lines that its last command prints
 *     ```console   commands behind "# " or "$ ", and below each the lines that it prints
 *
 * Lines are looked for in the order shown; others may be between them. "..." stands for anything.
 * Figures that differ from run to run are compared as figures: numbers of a thousand and more,
 * those with a decimal point, times, sizes, ports of clients. "N received" in a comment has to be
 * so. A command has to end well, unless its comment tells otherwise: see {@link FAILS}.
 *
 * Each lab has its own namespaces of processes, mounts and network, and /run/netns, /run/tapline
 * and /etc/netns are empty in it. So labs with the same names do not meet, and whatever a lab
 * leaves is gone with its first process; what is left before that is reported.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

export interface Command {
  readonly text: string
  /** Lines that the page shows below it. */
  readonly shown: string[]
}

/** What came of a lab: a line for each thing that is not as the page says. */
export interface Outcome {
  readonly faults: readonly string[]
  /** All that was printed, for whoever looks into a fault. */
  readonly transcript: string
}

/** Comments of commands that end with a failure on purpose. */
const FAILS = /#.*(0 received|unreachable|refused|exceeded|nothing|too big)/i
const RECEIVED = /#.*\b(\d+ received)/
/** Before the number and exit code of a command, in the transcript. */
const MARK = '\x1e'

interface Block {
  readonly kind: string
  readonly body: string
  /** The kind of the block right before it. */
  readonly behind: string | undefined
}

/** Every fenced block of a page, in order. */
function blocks(page: string): Block[] {
  let [end, last]: [number, string | undefined] = [0, undefined]
  return [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map((found) => {
    const [whole, kind, body] = found as unknown as [string, string, string]
    const behind = page.slice(end, found.index).trim() === '' ? last : undefined
    end = found.index + whole.length
    last = kind
    return { kind, body, behind }
  })
}

/** True if bash would not wait for another line: no open quote, here-document or loop. */
function isWhole(text: string): boolean {
  const { status, stderr } = spawnSync('bash', ['-n', '-c', text])
  return status === 0 && stderr.length === 0
}

/** Commands of one block; what is no command is shown by the one above. */
function commandsOf(body: string, hasPrompt: boolean): Command[] {
  const commands: Command[] = []
  let open: string | undefined
  for (const line of body.split('\n').slice(0, -1)) {
    const begun: string | undefined = hasPrompt ? /^[#$] (.*)/.exec(line)?.[1] : line
    if (open !== undefined) open += `\n${line}`
    else if (begun === undefined) commands.at(-1)?.shown.push(line)
    else open = begun
    if (open === undefined || !isWhole(open)) continue
    if (open.trim() !== '') commands.push({ text: open, shown: [] })
    open = undefined
  }
  if (open !== undefined) throw new Error(`this command does not end: ${open}`)
  return commands
}

export interface Reading {
  /** Beginnings of blocks that are not for the lab. */
  readonly skip?: readonly string[]
  /** Texts in what is shown that differ from run to run. */
  readonly varies?: readonly string[]
}

/** The lab of a page. */
export function readLab(page: string, { skip = [], varies = [] }: Reading = {}): Command[] {
  const commands: Command[] = []
  for (const { kind, body, behind } of blocks(readFileSync(join(ROOT, page), 'utf8'))) {
    const name = /^# (\S+\.yaml)\n/.exec(body)?.[1]
    if (skip.some((start) => body.startsWith(start))) continue
    if (kind === 'yaml' && name !== undefined) {
      commands.push({ text: `cat > ${name} <<'END OF FILE'\n${body}END OF FILE`, shown: [] })
    } else if (kind === 'sh' || kind === 'console') {
      commands.push(...commandsOf(body, kind === 'console'))
    } else if (kind === 'text' && behind === 'sh') {
      commands.at(-1)!.shown.push(...body.split('\n').slice(0, -1))
    }
  }
  return commands.map(({ text, shown }) => ({
    text,
    shown: shown.map((line) => varies.reduce((all, part) => all.replaceAll(part, '...'), line)),
  }))
}

/** A script that runs them one by one, says how each ended, and in the end what is left. */
function scriptOf(commands: readonly Command[]): string {
  const steps = commands.map(
    ({ text }, i) => `${text}\n__code=$?; printf '\\n${MARK}%d %d\\n' ${i} $__code`,
  )
  return `set -m
${steps.join('\n')}
for i in $(seq 100); do [ -z "$(jobs -r)" ] && break; sleep 0.1; done
printf '\\n${MARK}%d 0\\n' ${steps.length}
jobs -r; ls -A /run/netns /run/tapline /etc/netns | grep -v : | grep .
ip -o link | grep -v ' lo: '; nft list ruleset
printf '\\n${MARK}%d 0\\n' ${steps.length + 1}
`
}

const PREPARE = `mount -t tmpfs lab /run/netns; mount -t tmpfs lab /run/tapline
mount -t tmpfs lab /etc/netns; ip link set lo up; exec bash lab.sh 2>&1`

/** Run it in namespaces of its own. Everything in them ends with it. */
export async function runLab(commands: readonly Command[], limitMs: number): Promise<Outcome> {
  for (const place of ['/run/netns', '/run/tapline', '/etc/netns']) {
    mkdirSync(place, { recursive: true })
  }
  // A daemon outside would remove this folder once it is empty, and with it what is mounted on it.
  const held = mkdtempSync('/etc/netns/tapline-page-')
  const folder = mkdtempSync(join(tmpdir(), 'tapline-page-'))
  try {
    const bin = join(folder, '.bin')
    mkdirSync(bin)
    symlinkSync(join(ROOT, 'dist/services/cli/main.js'), join(bin, 'tapline'))
    writeFileSync(join(folder, 'lab.sh'), scriptOf(commands))
    const own = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
    const shell = spawn('unshare', [...own, 'bash', '-c', PREPARE], {
      cwd: folder,
      env: { ...process.env, PATH: `${bin}:${process.env['PATH']}`, LC_ALL: 'C.UTF-8' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let transcript = ''
    shell.stdout.setEncoding('utf8').on('data', (text: string) => {
      transcript += text
    })
    const timer = setTimeout(() => shell.kill('SIGKILL'), limitMs)
    await new Promise((resolve) => shell.once('close', resolve))
    clearTimeout(timer)
    return { faults: faultsOf(commands, transcript), transcript }
  } finally {
    rmSync(folder, { recursive: true, force: true })
    rmSync(held, { recursive: true })
  }
}

function faultsOf(commands: readonly Command[], transcript: string): string[] {
  const parts = transcript.split(MARK)
  const outputs: string[] = []
  const faults: string[] = []
  let output = parts[0]!
  for (const part of parts.slice(1)) {
    const [head, ...rest] = part.split('\n')
    const [index, code] = head!.split(' ').map(Number)
    outputs[index!] = output
    output = rest.join('\n')
    const command = commands[index!]
    if (command === undefined) continue
    if (code !== 0 && !FAILS.test(command.text)) faults.push(`exit code ${code}: ${command.text}`)
  }
  commands.forEach((command, i) => {
    if (outputs[i] === undefined) faults.push(`did not end: ${command.text}`)
    else faults.push(...missing(command, outputs[i], transcript))
  })
  const left = outputs[commands.length + 1]?.trim() ?? 'the end was not reached'
  return left === '' ? faults : [...faults, `left behind: ${left}`]
}

/** What the page shows below a command and is not there. */
function missing({ text, shown }: Command, output: string, transcript: string): string[] {
  // What goes on in the background may print its lines later.
  const inTheBackground = text.endsWith('&') || shown.some((line) => line.startsWith('ready '))
  const lines = (inTheBackground ? transcript : output).split('\n').map(normal)
  const faults: string[] = []
  let at = 0
  for (const line of shown) {
    if (line.trim() === '' || line.trim() === '...') continue
    const wanted = pattern(line)
    const found = lines.slice(at).findIndex((printed) => wanted.test(printed))
    if (found < 0) faults.push(`not printed by ${text}: ${line}`)
    else at += found + 1
  }
  const received = RECEIVED.exec(text)?.[1]
  if (received !== undefined && !output.includes(` ${received}`)) {
    faults.push(`not ${received}: ${text}`)
  }
  return faults
}

/** Columns and figures that differ from run to run, made alike. */
function normal(line: string): string {
  return line
    .trim()
    .replace(/\s+/g, ' ')
    .replace(/\bpid \d+/g, 'pid <pid>')
    .replace(/\b\d\d:\d\d:\d\d(\.\d+)?\b/g, '<time>')
    .replace(/(?<![\w.:])\d[\d,]*(\.\d+)?(ms|[dhms]\d\d[hms]|[smhkMGT])(?![\w.])/g, '<figure>')
    .replace(/(?<![\w.:])(\d+\.\d+|\d{4,}|\d{1,3}(,\d{3})+)(?![\w.:/])/g, '<figure>')
    .replace(/(\d\.\d+):\d{5}\b/g, '$1:<port>')
    .replace(/\((io_uring|poll)\)/g, '(<engine>)')
}

function pattern(line: string): RegExp {
  const parts = normal(line).split('...')
  const escaped = parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${escaped.join('.*')}$`)
}
