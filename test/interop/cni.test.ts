/** Real container runtimes with our CNI plugin: containerd's `ctr`, and Podman. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CONTAINERD } from '../../bench/container_host.ts'
import type { Attachment } from '../../services/attachments.ts'
import { ask, serve } from '../netns/ask.ts'
import { hasTool } from '../netns/lab.ts'
import { CLI, HOST4, HostLab, LAN4 } from './host_lab.ts'

const tools = [
  hasTool('containerd', 'containerd'),
  hasTool('runc', 'runc'),
  hasTool('busybox', 'busybox-static'),
  hasTool('nft', 'nftables'),
].every(Boolean)
const podman = hasTool('podman', 'podman')

const FILE = `name: shop
networks:
  front:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.81.0.0/24 }, { subnet: "fd81::/64" } ] }
  back: { ipam: { config: [ { subnet: 10.82.0.0/24 } ] } }
uplink: host
`
const CAPABILITIES = { portMappings: true, ips: true, mac: true, aliases: true, bandwidth: true }

describe.runIf(tools)('cni', () => {
  const lab = new HostLab((container) => pidOf(container))
  let file: string

  function pidOf(container: string): string {
    const command = container.startsWith('pod')
      ? ['sh', '-c', `${env()} podman inspect -f '{{.State.Pid}}' ${container}`]
      : ['sh', '-c', `ctr --address ${CONTAINERD} task ls | awk '$1 == "${container}" {print $2}'`]
    const [program, ...args] = lab.at('host', command)
    return execFileSync(program!, args, { encoding: 'utf8' }).trim()
  }

  const env = () => `CONTAINERS_CONF=${lab.folder}/containers.conf`
  const tapline = (...args: string[]) => lab.must('host', process.execPath, CLI, ...args)
  const attached = async () => {
    const socket = '/run/tapline/shop.sock'
    const url = 'http://x/v1/attachments'
    return JSON.parse(
      await lab.must('host', 'curl', '-s', '--unix-socket', socket, url),
    ) as Attachment[]
  }

  async function ctr(...args: string[]): Promise<string> {
    return await lab.must('host', 'ctr', '--address', CONTAINERD, ...args)
  }

  /** Not detached: it is `ctr` that asks for the container's network, and gives it back. */
  async function start(name: string): Promise<void> {
    const command = ['run', '--rm', '--cni', '--rootfs', lab.root, name, '/bin/sleep', '100000']
    lab.spawn('host', 'ctr', '--address', CONTAINERD, ...command)
    await lab.until(async () => (await ctr('task', 'ls')).match(`${name} .*RUNNING`) !== null)
  }

  async function remove(name: string): Promise<void> {
    await ctr('task', 'kill', '-s', 'SIGKILL', name)
    await lab.until(async () => !(await ctr('container', 'ls')).includes(name))
  }

  beforeAll(async () => {
    await lab.open()
    for (const folder of ['proc', 'dev', 'sys', 'etc', 'tmp']) mkdirSync(join(lab.root, folder))
    // As the build leaves it.
    chmodSync(CLI, 0o755)
    file = join(lab.folder, 'shop.yaml')
    writeFileSync(file, FILE)
    const plugin = { type: 'tapline', capabilities: CAPABILITIES }
    const list = { cniVersion: '1.0.0', name: 'front', plugins: [plugin] }
    writeFileSync(join(lab.folder, '10-front.conflist'), JSON.stringify(list))
    const old = { ...list, cniVersion: '0.4.0' }
    writeFileSync(join(lab.folder, 'podman.conflist'), JSON.stringify(old))
    writeFileSync(
      join(lab.folder, 'containers.conf'),
      `[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]\n` +
        `network_config_dir = "${lab.folder}/podman.d"\n` +
        `[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n`,
    )
    const lines = [
      'mkdir -p /etc/cni && mount -t tmpfs none /etc/cni && mount -t tmpfs none /opt',
      'mkdir -p /etc/cni/net.d /opt/cni/bin',
      `ln -s ${CLI} /opt/cni/bin/tapline`,
      `cp ${lab.folder}/10-front.conflist /etc/cni/net.d`,
      `mkdir ${lab.folder}/podman.d`,
      `cp ${lab.folder}/podman.conflist ${lab.folder}/podman.d/front.conflist`,
    ]
    await lab.must('host', 'sh', '-ec', lines.join('\n'))
    const up = lab.spawn('host', process.execPath, CLI, 'up', file)
    up.stderr!.on('data', (data: Buffer) => {
      lab.log += data.toString()
    })
    await new Promise<void>((resolve, reject) => {
      up.stdout!.once('data', () => resolve())
      up.once('exit', () => reject(new Error(lab.log)))
    })
  })

  afterAll(async () => {
    for (const name of ['c1', 'c2']) await remove(name).catch(() => undefined)
    await lab.close()
  })

  it('attaches containers of containerd, and lets go of them', async () => {
    await start('c1')
    await start('c2')
    const [one, two] = await attached()
    expect(one).toMatchObject({ id: 'default-c1', interfaceName: 'eth0', state: 'up' })
    const first = one!.addresses.map(({ address }) => address.replace(/\/.*/, ''))
    expect(first).toEqual(['10.81.0.2', 'fd81::2'])
    for (const to of first) expect(await lab.ping('c2', to)).toBe(3)
    await serve(lab, 'c1', 80)
    expect(await ask(lab, 'c2', '10.81.0.2', 80)).toBe('from 10.81.0.3')
    expect(await lab.must('c1', 'ip', 'route')).toContain('default via 10.81.0.1 dev eth0')
    expect(two!.sandbox).toBe('default-c2')
    expect(await tapline('ls')).toContain('default-c2')
    expect(await tapline('apply', file)).toBe('nothing to do')
    await remove('c2')
    expect((await attached()).map(({ id }) => id)).toEqual(['default-c1'])
    await remove('c1')
    expect(await attached()).toEqual([])
  })

  it('takes part of a second for one', async () => {
    const netns = '/run/netns/quick'
    await lab.must('host', 'ip', 'netns', 'add', 'quick')
    const conf = `{"cniVersion":"1.1.0","name":"front","type":"tapline"}`
    const call = (command: string) =>
      lab.must(
        'host',
        ...['env', `CNI_COMMAND=${command}`, 'CNI_CONTAINERID=quick', `CNI_NETNS=${netns}`],
        ...['CNI_IFNAME=eth0', 'CNI_PATH=/opt/cni/bin', 'sh', '-c'],
        `echo '${conf}' | /opt/cni/bin/tapline`,
      )
    const times: number[] = []
    for (let i = 0; i < 5; i++) {
      const began = performance.now()
      const result = JSON.parse(await call('ADD'))
      times.push(performance.now() - began)
      expect(result.ips).toHaveLength(2)
      await call('DEL')
    }
    console.log(`ADD: ${times.map((ms) => Math.round(ms)).join(', ')} ms`)
    expect(Math.min(...times)).toBeLessThan(2000)
    expect(await call('STATUS')).toBe('')
    await lab.must('host', 'ip', 'netns', 'del', 'quick')
  })

  it.runIf(podman)('publishes ports of containers of Podman', async () => {
    const options = `--root ${lab.folder}/podman --runroot /run/podman --storage-driver vfs`
    const run = (line: string) =>
      lab.must('host', 'sh', '-ec', `export ${env()}; p() { podman ${options} "$@"; }; ${line}`)
    await run(`tar -C ${lab.root} -c . | p import - lab:1`)
    // Its default limits need a right that a container's root may lack.
    const limits = '--ulimit nofile=1024:1024 --ulimit nproc=1024:1024'
    await run(`p run -d --name pod1 ${limits} --network front -p 8080:80 lab:1 sleep 100000`)
    const [made] = await attached()
    expect(made!.addresses).toHaveLength(2)
    const pid = await run(`p inspect -f '{{.State.Pid}}' pod1`)
    const server = lab.spawn(
      'host',
      ...['nsenter', `-t${pid}`, '-n', process.execPath, '-e'],
      `require('net').createServer(s => s.end('from ' + s.remoteAddress)).listen(80, '::',
        () => console.log('up'))`,
    )
    await new Promise((resolve) => server.stdout!.once('data', resolve))
    expect(await ask(lab, 'lan', HOST4, 8080)).toBe(`from ${LAN4}`)
    expect(await ask(lab, 'host', '127.0.0.1', 8080)).toContain('from 198.1')
    await run('p rm -f -t 0 pod1')
    expect(await attached()).toEqual([])
    expect(await tapline('ports')).not.toContain('8080')
  })
})
