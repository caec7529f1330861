/** What packaging/ makes, run: the image, the managed plugin and the service for systemd. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ask, serve } from '../netns/ask.ts'
import { hasTool, run } from '../netns/lab.ts'
import { DockerLab } from './docker_lab.ts'
import { CLI, LAN4 } from './host_lab.ts'
import { BUILD_MS, build, PACKAGING, ServiceManager, UNIT } from './packaging_lab.ts'

const tools = [
  hasTool('dockerd', 'docker.io'),
  hasTool('busybox', 'busybox-static'),
  hasTool('nft', 'nftables'),
  hasTool('iptables', 'iptables'),
  hasTool('systemd-analyze', 'systemd'),
].every(Boolean)

describe.runIf(tools)('packaging', { timeout: BUILD_MS }, () => {
  const lab = new DockerLab()
  const systemd = new ServiceManager(lab)

  beforeAll(async () => {
    await lab.open()
    // As on every host that systemd has started.
    await lab.must('host', 'mount', '--make-shared', '/run')
  }, BUILD_MS)

  afterEach(async () => {
    await lab.exec('host', 'sh', '-c', 'docker ps -aq | xargs -r docker rm -f')
    await lab.exec('host', 'docker', 'network', 'rm', 'front')
  })

  afterAll(async () => {
    await lab.exec('host', 'docker', 'plugin', 'disable', '-f', 'tapline')
    await systemd.close()
    await lab.close()
  }, BUILD_MS)

  /** Two containers on a network of a driver, and what must go between them; then all removed. */
  async function tryDriver(driver: string, meanwhile: () => Promise<void>): Promise<void> {
    const create = ['network', 'create', '-d', driver, '--ipam-driver', driver, '--ipv6']
    await lab.docker(...create, '--subnet', '10.77.0.0/16', '--subnet', 'fd77::/64', 'front')
    await lab.container('web', '--network', 'front', '-p', '8080:80')
    await lab.container('app', '--network', 'front')
    await serve(lab, 'web', 80)
    const talk = async (): Promise<void> => {
      expect(await lab.machine.ping('app', '10.77.0.2')).toBe(3)
      expect(await lab.machine.ping('app', 'fd77::2')).toBe(3)
      expect(await lab.docker('exec', 'app', 'ping', '-c2', 'web')).toContain('2 packets received')
      expect(await ask(lab, 'lan', '192.0.2.2', 8080)).toBe(`from ${LAN4}`)
      expect(await ask(lab, 'host', '127.0.0.1', 8080)).toContain('from 198.1')
      expect(await lab.machine.ping('app', LAN4)).toBe(3)
    }
    await talk()
    await meanwhile()
    await talk()
    await lab.docker('rm', '-f', 'web', 'app')
    await lab.docker('network', 'rm', 'front')
  }

  /** Docker is started again, and starts a container that is to run always. */
  async function comesBack(driver: string): Promise<void> {
    const create = ['network', 'create', '-d', driver, '--ipam-driver', driver]
    await lab.docker(...create, '--subnet', '10.77.0.0/16', 'front')
    await lab.container('web', '--network', 'front', '--restart', 'always')
    await lab.stopDocker()
    await lab.startDocker()
    expect(await lab.docker('exec', 'web', 'ping', '-c2', '10.77.0.1')).toContain('2 packets rec')
    await lab.docker('rm', '-f', 'web')
    await lab.docker('network', 'rm', 'front')
  }

  /** Empty: there is no daemon. */
  const ls = async (...args: string[]): Promise<string> =>
    (await lab.exec('host', process.execPath, CLI, 'ls', ...args)).stdout

  describe('image', () => {
    const demo = async (...options: string[]): Promise<string> =>
      await lab.docker('run', '--rm', ...options, 'tapline', 'demo')
    const tun = ['--device', '/dev/net/tun']

    beforeAll(async () => {
      const root = join(lab.machine.folder, 'image')
      await build(lab, 'rootfs.sh', root)
      await lab.docker('build', '-q', '-f', join(PACKAGING, 'Dockerfile'), '-t', 'tapline', root)
    }, BUILD_MS)

    it('joins sandboxes inside a container that may make namespaces', async () => {
      const out = await demo('--cap-add', 'NET_ADMIN', '--cap-add', 'SYS_ADMIN', ...tun)
      expect(out).toContain('Mode tap')
      expect(out.match(/ 0% packet loss/g)).toHaveLength(3)
    })

    it('brings a file up there, though /proc/sys is read-only', async () => {
      const file = join(lab.machine.folder, 'pair.yaml')
      writeFileSync(file, PAIR)
      const options = ['--cap-add', 'NET_ADMIN', '--cap-add', 'SYS_ADMIN', ...tun]
      const mount = ['-v', `${file}:/pair.yaml:ro`]
      await lab.docker('run', '-d', '--name', 'pair', ...options, ...mount, 'tapline', ...UP)
      await lab.machine.until(async () => (await lab.docker('logs', 'pair')).includes('ready '))
      const ping = ['nsenter', '--net=/run/netns/a', 'ping', '-c2', '10.1.0.12']
      expect(await lab.docker('exec', 'pair', ...ping)).toContain('2 packets received')
      await lab.docker('stop', 'pair')
      expect(await lab.docker('inspect', '-f', '{{.State.ExitCode}}', 'pair')).toBe('0')
    })

    it('joins them without a capability where user namespaces are let through', async () => {
      const out = await demo('--security-opt', 'seccomp=unconfined', ...tun)
      expect(out).toContain('Mode userns')
      expect(out.match(/ 0% packet loss/g)).toHaveLength(3)
    })

    it('says why it does not, and runs in memory', async () => {
      const out = await demo('--cap-add', 'NET_ADMIN', ...tun)
      expect(out).toContain('not "tap": unshare a network namespace: EPERM')
      expect(out).toContain('Mode memory')
      expect(await demo()).toContain('not "tap": there is no /dev/net/tun')
    })

    it('is the driver of the Docker that runs it', async () => {
      await lab.docker('run', '-d', '--name', 'driver', ...driverOptions, 'tapline')
      await lab.machine.until(async () => (await lab.docker('logs', 'driver')).includes('ready '))
      await tryDriver('tapline', async () => {
        await lab.docker('restart', 'driver')
        await lab.machine.until(async () => (await ls('--name', 'docker')).includes('10.77.0.2'))
      })
      await lab.docker('stop', 'driver')
      const code = ['inspect', '-f', '{{.State.ExitCode}}', 'driver']
      expect(await lab.docker(...code)).toBe('0')
      await lab.docker('rm', 'driver')
    })
  })

  it('is a managed plugin', async () => {
    await build(lab, 'plugin.sh', 'tapline', join(lab.machine.folder, 'plugin'))
    await lab.docker('plugin', 'enable', 'tapline')
    await tryDriver('tapline:latest', async () => {
      const { stderr } = await lab.exec('host', 'docker', 'plugin', 'disable', 'tapline')
      expect(stderr).toContain('in use')
      await lab.docker('plugin', 'disable', '-f', 'tapline')
      expect(await lab.machine.ping('app', '10.77.0.2')).toBe(0)
      await lab.docker('plugin', 'enable', 'tapline')
      expect(await ls('--socket', '/run/docker/tapline.sock')).toContain('10.77.0.2')
    })
    await comesBack('tapline:latest')
    await lab.docker('plugin', 'disable', 'tapline')
    await lab.docker('plugin', 'set', 'tapline', 'args=--uplink none')
    await lab.docker('plugin', 'enable', 'tapline')
    expect(await lab.must('host', 'ip', '-br', 'link')).not.toContain('tapline0')
    await lab.docker('plugin', 'disable', 'tapline')
    await lab.docker('plugin', 'rm', 'tapline')
  })

  describe('service', () => {
    it('is a unit that systemd takes', async () => {
      const { code, stdout, stderr } = await run(['systemd-analyze', 'verify', '--man=no', UNIT])
      expect(stdout + stderr).toBe('')
      expect(code).toBe(0)
    })

    it('runs under systemd with all that the unit forbids it', async () => {
      await systemd.open(UNIT)
      expect(await systemd.systemctl('start', 'tapline-docker')).toMatchObject({ code: 0 })
      expect(await systemd.show('StatusText')).toMatch(/^docker: 0 networks/)
      await tryDriver('tapline', async () => {
        await systemd.systemctl('kill', '-s', 'KILL', 'tapline-docker')
        await lab.machine.until(async () => (await systemd.show('NRestarts')) === '1')
        await lab.machine.until(async () => (await systemd.show('ActiveState')) === 'active')
        expect(await systemd.show('StatusText')).toMatch(/^docker: 1 network, 2 endpoints/)
      })
      expect(await systemd.systemctl('stop', 'tapline-docker')).toMatchObject({ code: 0 })
      expect(await systemd.show('Result')).toBe('success')
      expect(await systemd.show('ExecMainStatus')).toBe('0')
    })
  })
})

const UP = ['up', '/pair.yaml']
const PAIR = `name: pair
networks: { front: { ipam: { config: [ { subnet: 10.1.0.0/24 } ] } } }
sandboxes:
  a: { networks: { front: { ipv4_address: 10.1.0.11 } } }
  b: { networks: { front: { ipv4_address: 10.1.0.12 } } }
`

/** As in docs/docker.md. */
const driverOptions = [
  ...['--network', 'host', '--device', '/dev/net/tun'],
  ...['--cap-add', 'NET_ADMIN', '--cap-add', 'SYS_ADMIN'],
  ...['--security-opt', 'systempaths=unconfined'],
  ...['-v', '/run/docker:/run/docker:rslave', '-v', '/run/tapline:/run/tapline'],
  ...['-v', 'tapline:/var/lib/tapline'],
]
