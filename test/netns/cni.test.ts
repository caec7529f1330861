/** CNI calls on real namespaces: what CHECK sees inside a container, and what is in ADD's way. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { runPlugin } from '../../services/cni/plugin.ts'
import { addNetns, deleteNetns } from '../../stack/native/netns.ts'
import { Lab, must } from './lab.ts'

const lab = new Lab()
const netns = `tlcni${process.pid}`

beforeAll(async () => {
  addNetns(netns)
  const subnets = '[ { subnet: 10.81.0.0/24 }, { subnet: "fd81::/64" } ]'
  await lab.up(`name: ${lab.prefix}
networks:
  front: { enable_ipv6: true, ipam: { config: ${subnets} } }
`)
})

afterAll(async () => {
  await lab.close()
  deleteNetns(netns)
})

/** Exit code, and what was answered or why not. */
async function call(command: string, more: object = {}) {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: `/var/run/netns/${netns}`,
    CNI_IFNAME: 'eth0',
  }
  const conf = { cniVersion: '1.1.0', name: 'front', type: 'tapline', socket: lab.socket, ...more }
  const { exitCode, output } = await runPlugin(env, JSON.stringify(conf))
  return { exitCode, output, msg: String(output?.['msg'] ?? '') }
}

const ip = (...args: string[]) => must('ip', '-n', netns, ...args)

it('refuses a name that another interface has', async () => {
  await ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far')
  const { output, msg } = await call('ADD')
  expect(output).toMatchObject({ code: 101 })
  expect(msg).toMatch(/has an interface eth0 already: remove it there, or ask for another name$/)
  await ip('link', 'del', 'eth0')
})

it('finds what is missing inside', async () => {
  const { exitCode, output: prevResult } = await call('ADD')
  expect(exitCode).toBe(0)
  const check = async () => (await call('CHECK', { prevResult })).msg
  expect(await check()).toBe('')
  await ip('route', 'del', 'default')
  expect(await check()).toBe('c1/eth0: eth0 has no default route via 10.81.0.1')
  await ip('route', 'add', 'default', 'via', '10.81.0.1')
  expect(await check()).toBe('')
  await ip('addr', 'flush', 'dev', 'eth0')
  expect(await check()).toContain('c1/eth0: eth0 has no address 10.81.0.2/24; eth0 has no address')
  await ip('link', 'set', 'eth0', 'down')
  expect(await check()).toBe(`c1/eth0: eth0 is down in /var/run/netns/${netns}`)
  expect((await call('DEL')).exitCode).toBe(0)
})
