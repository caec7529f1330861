/** Docker's calls in memory: what is answered, what comes of it, and what is refused. */
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ApplyAnswer } from '../../../services/api_types.ts'
import { eventually } from '../daemon_lab.ts'
import { id, PluginLab } from './lab.ts'

/** Servers of Node.js end idle connections after five seconds. */
const IDLE_MS = 6500
const MTU = 'com.docker.network.driver.mtu'
const GENERIC = 'com.docker.network.generic'

describe('the plugin', () => {
  let lab: PluginLab

  beforeEach(async () => {
    lab = new PluginLab()
    await lab.daemon.start()
  })

  afterEach(async () => {
    expect(await lab.close()).toEqual([])
  })

  it('says what it is, in the type that Docker wants', async () => {
    const { status, type, body } = await lab.send('/Plugin.Activate', '')
    expect(status).toBe(200)
    expect(type).toBe('application/vnd.docker.plugins.v1.2+json')
    expect(body).toEqual({ Implements: ['NetworkDriver', 'IpamDriver'] })
    expect(await lab.call('NetworkDriver.GetCapabilities')).toMatchObject({ Scope: 'local' })
    expect(await lab.call('IpamDriver.GetCapabilities')).toEqual({
      RequiresMACAddress: false,
      RequiresRequestReplay: false,
    })
    expect(Object.keys(await lab.call('IpamDriver.GetDefaultAddressSpaces'))).toHaveLength(2)
    for (const name of ['FreeNetwork', 'DiscoverNew', 'DiscoverDelete']) {
      expect(await lab.call(`NetworkDriver.${name}`)).toEqual({})
    }
  })

  it('answers 404 to what it does not do, and 400 to what is no request', async () => {
    expect((await lab.send('/NetworkDriver.Dance', '{}')).status).toBe(404)
    expect((await lab.send('/__proto__', '{}')).status).toBe(404)
    expect((await lab.send('/Plugin.Activate', '', 'GET')).status).toBe(405)
    for (const text of [
      '{',
      'null',
      '[]',
      '{"NetworkID":7}',
      `{"NetworkID":"${'x'.repeat(300)}"}`,
    ]) {
      const { status, body } = await lab.send('/NetworkDriver.Join', text)
      expect([status, typeof body['Err']]).toEqual([400, 'string'])
    }
    const { status, body } = await lab.send('/IpamDriver.RequestPool', '{"V6":"yes"}')
    expect(status).toBe(400)
    expect(body['Error']).toContain('V6')
  })

  it('keeps idle connections, as Docker asks again with an empty body where one ends', async () => {
    const socket = connect(`${lab.folder}/plugin.sock`)
    let ended = false
    socket.on('close', () => {
      ended = true
    })
    const ask = async () => {
      socket.write('POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n')
      const [answer] = (await once(socket, 'data')) as [Buffer]
      return answer.toString().slice(0, 15)
    }
    expect(await ask()).toBe('HTTP/1.1 200 OK')
    await setTimeout(IDLE_MS)
    expect(ended).toBe(false)
    expect(await ask()).toBe('HTTP/1.1 200 OK')
    socket.destroy()
  })

  it('joins containers, which reach each other and the gateway, and lets them go', async () => {
    const { PoolID } = await lab.call('IpamDriver.RequestPool', { Pool: '10.5.0.0/24' })
    const Options = { RequestAddressType: 'com.docker.network.gateway' }
    const gateway = await lab.call('IpamDriver.RequestAddress', { PoolID, Options })
    expect(gateway['Address']).toBe('10.5.0.1/24')
    await lab.network(1)
    const one = await lab.join(1, 0x11, '10.5.0.11')
    await lab.join(1, 0x12, '10.5.0.12')
    await one.ping('10.5.0.12')
    await one.ping('10.5.0.1')
    expect(lab.daemon.controller.ls().sandboxes.map(({ name }) => name)).toEqual([
      '000000000011',
      '000000000012',
    ])
    await lab.leave(1, 0x11)
    await lab.leave(1, 0x12)
    await lab.call('NetworkDriver.DeleteNetwork', { NetworkID: id(1) })
    await lab.call('IpamDriver.ReleaseAddress', { PoolID, Address: '10.5.0.1' })
    await lab.call('IpamDriver.ReleasePool', { PoolID })
    expect(lab.state()).toEqual({ version: 2, networks: [], endpoints: [], pools: [] })
    expect(lab.daemon.controller.ls().networks).toEqual([])
  })

  it('tells Docker how to name, address and route an interface', async () => {
    await lab.network(1, '10.5.0.0/24', {
      Options: {
        'com.docker.network.enable_ipv6': true,
        [GENERIC]: { [MTU]: '1400', 'com.docker.network.container_iface_prefix': 'net' },
      },
      IPv6Data: [{ Pool: 'fd05::/64', Gateway: 'fd05::1/64' }],
    })
    const of = { NetworkID: id(1), EndpointID: id(0xabc) }
    const Interface = { Address: '10.5.0.7/24', AddressIPv6: 'fd05::7/64', MacAddress: '' }
    const made = await lab.call('NetworkDriver.CreateEndpoint', { ...of, Interface })
    expect(made).toEqual({ Interface: { MacAddress: '02:42:0a:05:00:07' } })
    lab.links.prepare({ name: 'c', netns: '/ns' })
    expect(await lab.call('NetworkDriver.Join', { ...of, SandboxKey: '/ns' })).toEqual({
      InterfaceName: { SrcName: 'tl000000000abc', DstPrefix: 'net' },
      Gateway: '10.5.0.1',
      GatewayIPv6: 'fd05::1',
      DisableGatewayService: false,
    })
    const { Value } = await lab.call('NetworkDriver.EndpointOperInfo', of)
    expect(Value).toMatchObject({ 'tapline.sandbox': '000000000abc' })
    const [endpoint] = lab.daemon.controller.inspect().sandboxes[0]!.endpoints
    expect(endpoint).toMatchObject({ mtu: 1400, mac: '02:42:0a:05:00:07' })
  })

  it('keeps a MAC address that is given, and gives an internal network no gateway', async () => {
    await lab.network(1, '10.5.0.0/24', { Options: { 'com.docker.network.internal': true } })
    const of = { NetworkID: id(1), EndpointID: id(2) }
    const Interface = { Address: '10.5.0.7/24', MacAddress: '02:00:00:00:00:07' }
    const made = await lab.call('NetworkDriver.CreateEndpoint', { ...of, Interface })
    expect(made).toEqual({ Interface: {} })
    lab.links.prepare({ name: 'c', netns: '/ns' })
    expect(await lab.call('NetworkDriver.Join', { ...of, SandboxKey: '/ns' })).toMatchObject({
      Gateway: '',
      DisableGatewayService: true,
    })
  })

  it('refuses in words, and has changed nothing then', async () => {
    await lab.network(1)
    await lab.join(1, 2, '10.5.0.7')
    const before = lab.state()
    const create = (number: number, data: object, options: object = {}) =>
      lab.refusal('NetworkDriver.CreateNetwork', {
        NetworkID: id(number),
        IPv4Data: [data],
        Options: { [GENERIC]: options },
      })
    const good = { Pool: '10.6.0.0/24', Gateway: '10.6.0.1/24' }
    expect(await create(3, { Pool: '10.5.0.0/16', Gateway: '10.5.0.1/16' })).toContain('overlaps')
    expect(await create(3, { Pool: '0.0.0.0/0', Gateway: '' })).toContain('IPAM driver "null"')
    expect(await create(3, good, { parent: 'eth0' })).toContain('"parent"')
    expect(await create(3, good, { [MTU]: 'x' })).toContain('expected a whole number')
    expect(await create(3, good, { 'tapline.nothing': '1' })).toContain('"tapline.nothing"')
    expect(await create(1, good)).toContain('is there already')
    const endpoint = (number: number, Address: string) =>
      lab.refusal('NetworkDriver.CreateEndpoint', {
        NetworkID: id(number),
        EndpointID: id(9),
        Interface: { Address },
      })
    expect(await endpoint(5, '10.5.0.8/24')).toContain('knows no network')
    expect(await endpoint(1, '10.9.0.8/24')).toContain('10.9.0.8')
    expect(await endpoint(1, '')).toContain('needs an address')
    const join = { NetworkID: id(1), EndpointID: id(9), SandboxKey: '/ns' }
    expect(await lab.refusal('NetworkDriver.Join', join)).toContain('knows no endpoint')
    expect(lab.state()).toEqual(before)
  })

  it('takes away what is not there without a word', async () => {
    const of = { NetworkID: id(1), EndpointID: id(2) }
    for (const name of ['Leave', 'DeleteEndpoint', 'RevokeExternalConnectivity']) {
      expect(await lab.call(`NetworkDriver.${name}`, of)).toEqual({})
    }
    expect(await lab.call('NetworkDriver.DeleteNetwork', of)).toEqual({})
    expect(await lab.call('IpamDriver.ReleasePool', { PoolID: 'x' })).toEqual({})
    expect(
      await lab.call('IpamDriver.ReleaseAddress', { PoolID: 'x', Address: '10.0.0.1' }),
    ).toEqual({})
  })

  it('goes on with others after the interface of one was lost', async () => {
    await lab.network(1)
    await lab.join(1, 0x11, '10.5.0.11')
    const other = await lab.join(1, 0x12, '10.5.0.12')
    lab.links.cut('000000000011/eth0')
    await eventually(() => lab.logged.some((line) => line.startsWith('lost 000000000011')))
    await lab.join(1, 0x13, '10.5.0.13')
    await other.ping('10.5.0.13')
    await lab.leave(1, 0x11)
  })

  it('refuses a MAC address that another one on the network has', async () => {
    await lab.network(1)
    await lab.join(1, 0x11, '10.5.0.11')
    const { endpoints } = lab.state()
    const { mac } = endpoints[0] as { mac: string }
    const of = { NetworkID: id(1), EndpointID: id(0x12) }
    const own = { Address: '10.5.0.12/16', MacAddress: mac }
    await lab.call('NetworkDriver.CreateEndpoint', { ...of, Interface: own })
    const join = { ...of, SandboxKey: '/ns/12' }
    expect(await lab.refusal('NetworkDriver.Join', join)).toContain(
      `${mac} is taken by sandbox 000000000011 on this network`,
    )
    await lab.leave(1, 0x11)
    expect(await lab.refusal('NetworkDriver.Join', join)).toContain('no sandbox in /ns/12')
    await lab.call('NetworkDriver.DeleteEndpoint', of)
  })

  it('publishes ports: runs as one, automatic ones, and none twice', async () => {
    await lab.network(1)
    for (const number of [0x11, 0x12]) await lab.join(1, number, `10.5.0.${number}`)
    const run = [0, 1, 2].map((i) => ({ Proto: 6, Port: 90 + i, HostIP: '', HostPort: 9000 + i }))
    const udp = { Proto: 17, Port: 53, HostIP: '0.0.0.0', HostPort: 53, HostPortEnd: 53 }
    const free = { Proto: 6, Port: 80, HostIP: null, HostPort: 0 }
    expect(await lab.publish(1, 0x11, [...run, udp, free])).toBe('undefined')
    const published = () =>
      lab.daemon.controller.ports().map(({ published: port, sandbox }) => `${port} ${sandbox}`)
    const first = ['9000-9002/tcp 000000000011', '0.0.0.0:53/udp 000000000011']
    expect(published()).toEqual([...first, '49153/tcp 000000000011'])
    expect(await lab.publish(1, 0x12, [run[1]!])).toContain('port 9001/tcp is published already')
    const span = { Proto: 6, Port: 80, HostIP: '', HostPort: 9001, HostPortEnd: 9004 }
    expect(await lab.publish(1, 0x12, [span, free])).toBe('undefined')
    expect(published().slice(3)).toEqual(['9003/tcp 000000000012', '49154/tcp 000000000012'])
    expect(await lab.publish(1, 0x12, [{ Proto: 47, Port: 1 }])).toContain('IP protocol 47')
    const group = { Proto: 6, Port: 80, HostIP: '224.0.0.1', HostPort: 80 }
    expect(await lab.publish(1, 0x12, [group])).toContain('224.0.0.1 is a multicast group')
    await lab.leave(1, 0x11)
    expect(published()).toHaveLength(2)
    await lab.leave(1, 0x12)
  })

  it('publishes and takes away ports of a running container, until it leaves', async () => {
    await lab.network(1)
    for (const number of [0x11, 0x12]) await lab.join(1, number, `10.5.0.${number}`)
    const add = (spec: string, sandbox = '000000000011') =>
      lab.client.post<ApplyAnswer>('ports/add', { spec, sandbox })
    const { steps } = await add('8080:80')
    expect(steps.map(({ action, subject }) => `${action} ${subject}`)).toEqual([
      'publish 8080:80/tcp',
    ])
    await expect(add('8080:81', '000000000012')).rejects.toThrow('published already')
    await expect(add('8081:80', 'nobody')).rejects.toThrow('no sandbox "nobody"')
    await add('90-91/udp')
    // What Docker does meanwhile to others keeps them.
    await lab.leave(1, 0x12)
    const published = () => lab.daemon.controller.ports().map(({ published: port }) => port)
    expect(published()).toEqual(['8080/tcp', '49153-49154/udp'])
    await lab.client.post('ports/remove', { spec: '8080' })
    expect(published()).toEqual(['49153-49154/udp'])
    await expect(lab.client.post('ports/remove', { spec: '8080' })).rejects.toThrow('no published')
    await lab.leave(1, 0x11)
    expect(published()).toEqual([])
  })

  it('refuses a state file of another kind, and leaves it alone', async () => {
    const { writeFileSync } = await import('node:fs')
    const other = new PluginLab()
    writeFileSync(`${other.folder}/state.json`, '{"version":7}')
    await expect(other.daemon.start()).rejects.toThrow(
      /state.json is not a state file of version 2/,
    )
    expect(other.state()).toEqual({ version: 7 })
    expect(await other.close()).toEqual([])
  })

  it('leaves the record of a running daemon alone', async () => {
    await lab.network(1)
    await lab.join(1, 0x11, '10.5.0.11')
    const before = lab.state()
    const second = new PluginLab(join(lab.folder, 'state.json'))
    await expect(second.daemon.start()).rejects.toThrow(
      /^another daemon, pid \d+, keeps its record in .*state.json; .* --state and a --socket/,
    )
    expect(await second.close()).toEqual([])
    expect(lab.state()).toEqual(before)
    expect(readdirSync(lab.folder)).toContain('state.json.lock')
    await lab.daemon.close()
    expect(readdirSync(lab.folder)).toEqual(['state.json'])
    const third = new PluginLab(join(lab.folder, 'state.json'))
    await third.daemon.start()
    expect(third.daemon.driver.record.networks.size).toBe(1)
    expect(await third.close()).toEqual([])
  })

  it('gives each address once, within the range, and takes it back', async () => {
    const { PoolID } = await lab.call('IpamDriver.RequestPool', {
      Pool: '10.5.0.0/24',
      SubPool: '10.5.0.64/30',
    })
    const given: unknown[] = []
    for (let i = 0; i < 4; i++) {
      given.push((await lab.call('IpamDriver.RequestAddress', { PoolID }))['Address'])
    }
    expect(given).toEqual(['10.5.0.64/24', '10.5.0.65/24', '10.5.0.66/24', '10.5.0.67/24'])
    const refusal = (Address: string) =>
      lab.refusal('IpamDriver.RequestAddress', { PoolID, Address })
    expect(await refusal('')).toContain('no address left in 10.5.0.0/24')
    expect(await refusal('10.5.0.65')).toContain('10.5.0.65 is taken')
    expect(await refusal('10.6.0.65')).toContain('not a host address')
    await lab.call('IpamDriver.ReleaseAddress', { PoolID, Address: '10.5.0.65' })
    expect((await lab.call('IpamDriver.RequestAddress', { PoolID }))['Address']).toBe(
      '10.5.0.65/24',
    )
    const pool = (Pool: string, more: object = {}) =>
      lab.refusal('IpamDriver.RequestPool', { Pool, ...more })
    expect(await pool('10.5.0.128/25')).toContain('overlaps the pool 10.5.0.0/24')
    expect(await pool('10.7.0.1/24')).toContain('host bits')
    expect(await pool('10.7.0.0/24', { SubPool: '10.8.0.0/25' })).toContain('--ip-range')
    expect(await pool('10.7.0.0/24', { V6: true })).toContain('not an IPv6 subnet')
    const unknown = { Options: { serial: 'true' } }
    expect(await pool('10.9.0.0/24', unknown)).toContain('unknown option "serial"')
    const own = await lab.call('IpamDriver.RequestPool', {})
    const six = await lab.call('IpamDriver.RequestPool', { V6: true })
    expect(own['Pool']).toMatch(/^(172|192)\.[\d.]+\/(16|20)$/)
    expect(six['Pool']).toMatch(/^fd.*\/64$/)
  })

  it('survives anything that is sent to it', async () => {
    const calls = [
      'CreateNetwork',
      'CreateEndpoint',
      'Join',
      'Leave',
      'ProgramExternalConnectivity',
    ]
    const paths = [
      ...calls.map((name) => `/NetworkDriver.${name}`),
      ...['RequestPool', 'RequestAddress', 'ReleaseAddress'].map((name) => `/IpamDriver.${name}`),
    ]
    const key = fc.constantFrom(
      ...['NetworkID', 'EndpointID', 'Interface', 'Options', 'SandboxKey', 'IPv4Data', 'Pool'],
      ...['PoolID', 'Address', 'V6', 'SubPool', 'Gateway', 'AuxAddresses', GENERIC, MTU],
    )
    const body = fc.oneof(
      fc.json(),
      fc.dictionary(key, fc.jsonValue()).map((v) => JSON.stringify(v)),
    )
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), body, async (path, text) => {
        const { status } = await lab.send(path, text)
        expect([200, 400]).toContain(status)
      }),
      { numRuns: 300, seed: 20261129 },
    )
    await lab.network(1, '10.99.0.0/24')
  })
})
