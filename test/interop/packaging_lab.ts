/**
 * What packaging/ makes, tried on a Docker host: images, a managed plugin, and a systemd of its own
 * that runs the unit beside Docker.
 */
import type { ChildProcess } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Result, run } from '../netns/lab.ts'
import type { DockerLab } from './docker_lab.ts'
import { stop } from './host_lab.ts'

const SOURCE: string = join(import.meta.dirname, '../..')
export const PACKAGING: string = join(SOURCE, 'packaging/docker')
export const UNIT: string = join(PACKAGING, 'tapline-docker.service')
/** Of copying a root file system, more than once. */
export const BUILD_MS = 300_000

/** Run one of the scripts of packaging/. */
export async function build(lab: DockerLab, script: string, ...args: string[]): Promise<void> {
  const command = lab.machine.at('host', [join(PACKAGING, script), ...args])
  const { code, stdout, stderr } = await run(command, BUILD_MS)
  if (code !== 0) throw new Error(`${script}: ${code}\n${stdout}${stderr}`)
}

/**
 * systemd as the first process of a PID namespace on the lab's host, with no units but ours and
 * those that it insists on, in a control group of its own. Docker's mounts in /run reach it.
 */
export class ServiceManager {
  readonly #lab: DockerLab
  readonly #folder: string
  readonly #group: string
  #child: ChildProcess | undefined

  constructor(lab: DockerLab) {
    this.#lab = lab
    this.#folder = join(lab.machine.folder, 'systemd')
    this.#group = join(this.#folder, 'cgroup', `tapline-lab-${process.pid}`)
  }

  /** Start it; the service is then to be started. */
  async open(unit: string): Promise<void> {
    const units = join(this.#folder, 'units')
    for (const name of ['units', 'generators', 'cgroup']) {
      mkdirSync(join(this.#folder, name), { recursive: true })
    }
    cpSync(unit, join(units, 'tapline-docker.service'))
    for (const name of ['sysinit', 'basic', 'network', 'shutdown', 'multi-user']) {
      writeFileSync(join(units, `${name}.target`), '[Unit]\nDefaultDependencies=no\n')
    }
    const { machine } = this.#lab
    const child = machine.spawn('host', 'sh', '-ec', ENTER, '-', this.#folder, this.#group, SOURCE)
    child.stderr!.on('data', (data: Buffer) => {
      machine.log += data.toString()
    })
    this.#child = child
    await machine.until(async () => {
      if (child.exitCode !== null) throw new Error(`systemd ended: ${machine.log}`)
      return (await this.systemctl('is-system-running')).stdout.trim() === 'running'
    })
  }

  systemctl(...args: string[]): Promise<Result> {
    const command = ['nsenter', `-t${this.#pid()}`, '-m', '-p', '-n', '-C', '--', 'systemctl']
    return run([...command, ...args])
  }

  /** A property of the service. */
  async show(property: string): Promise<string> {
    const args = ['show', '--value', '-p', property, 'tapline-docker']
    return (await this.systemctl(...args)).stdout.trim()
  }

  /** It and all that it started end; its control groups go. */
  async close(): Promise<void> {
    if (this.#child === undefined) return
    await stop(this.#child, 'SIGKILL')
    const gone = `find ${this.#group} -depth -type d -exec rmdir {} + 2>&1`
    await this.#lab.machine.until(
      async () => !/busy/i.test((await this.#lab.exec('host', 'sh', '-c', gone)).stdout),
    )
  }

  /** The first process of the PID namespace; 0: there is none yet. */
  #pid(): string {
    const { pid } = this.#child!
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')[0] || '0'
  }
}

/** The program is put first in the service's PATH; what it keeps is not this machine's. */
const ENTER = `folder=$1 group=$2 source=$3
mount -t cgroup2 none $folder/cgroup
mkdir $group
echo $$ >$group/cgroup.procs
exec unshare -m -p -C -u -i --propagation slave --fork --kill-child --mount-proc sh -ec '
  mount -t cgroup2 none /sys/fs/cgroup
  mount -t tmpfs none /var/lib
  mount -t tmpfs none /usr/local/sbin
  mkdir /usr/local/sbin/app
  mount --bind "$2" /usr/local/sbin/app
  ln -s app/dist/services/cli/main.js /usr/local/sbin/tapline
  exec env -i container=lab PATH=/usr/sbin:/usr/bin SYSTEMD_UNIT_PATH="$1/units" \
    SYSTEMD_GENERATOR_PATH="$1/generators" /lib/systemd/systemd --system \
    --unit=multi-user.target --log-target=console --show-status=no
' - $folder $source`
