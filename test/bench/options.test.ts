import { CommanderError } from 'commander'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { fleetFile } from '../../bench/measure/fleet.ts'
import { parseOptions } from '../../bench/options.ts'
import { PEER_NAMES } from '../../bench/peers/peer.ts'
import { natFile, taplineFile, vipFile } from '../../bench/peers/tapline.ts'
import { GROUPS, LARGE_FLEET, QUESTION_NAMES } from '../../bench/questions.ts'
import { parseConfig } from '../../services/config/parse.ts'

describe('options', () => {
  it('take a name that stands for several questions', () => {
    const { questions, micro } = parseOptions(['--only', 'docker,cni'], 2)
    expect(questions).toEqual([...GROUPS.docker, 'cni'])
    expect(micro).toBe(false)
  })

  it('asks everything of everybody by default', () => {
    const options = parseOptions([], 2)
    expect(options.questions).toEqual(QUESTION_NAMES)
    expect(options.systems).toEqual(PEER_NAMES)
    expect(options).toMatchObject({ rounds: 5, seconds: 5, warmUpSeconds: 1, engine: 'auto' })
    expect(options).toMatchObject({ micro: true, quick: false, json: false, check: false })
  })

  it('gives client and server a CPU each where there are two', () => {
    expect(parseOptions([], 4)).toMatchObject({
      ...{ clientCpus: '0', serverCpus: '1', systemCpus: '0-3' },
    })
    expect(parseOptions([], 1)).toMatchObject({
      ...{ clientCpus: '0', serverCpus: '0', systemCpus: '0' },
    })
  })

  it('asks less in a quick run, unless told', () => {
    expect(parseOptions(['--quick'], 2)).toMatchObject({ rounds: 1, seconds: 1, warmUpSeconds: 0 })
    expect(parseOptions(['--quick', '--rounds', '2'], 2)).toMatchObject({ rounds: 2, seconds: 1 })
  })

  it('keeps the order of questions, and tells the pieces apart', () => {
    const options = parseOptions(['--only', 'micro,frames,tcp', '--systems', 'vde,tapline'], 2)
    expect(options.questions).toEqual(['tcp', 'frames'])
    expect(options.micro).toBe(true)
    expect(options.systems).toEqual(['vde', 'tapline'])
    expect(parseOptions(['--only', 'rtt'], 2).micro).toBe(false)
  })

  it.each([
    ['--only', 'tpc'],
    ['--systems', 'tapline,bridge'],
    ['--rounds', '0'],
    ['--seconds', '1.5'],
    ['--warm-up', '-1'],
    ['--engine', 'epoll'],
    ['--client-cpus', 'first'],
    ['--unknown'],
    ['stray'],
  ])('refuses %s %s', (...argv) => {
    const said: string[] = []
    expect(() => parseOptions(argv, 2, (text) => said.push(text))).toThrow(CommanderError)
    expect(said.join('')).toMatch(/^error: /)
  })
})

describe('files for tapline', () => {
  it('are what tapline reads', () => {
    const text = taplineFile('bench', { front: '10.77.1.0/24' }, [
      { name: 'client', netns: 'ns1', network: 'front', address: '10.77.1.11' },
    ])
    const { config, faults } = parseConfig(text, 'bench.yaml')
    expect(faults).toEqual([])
    expect(config?.name).toBe('bench')
  })

  it('have an uplink and a published port, or a service', () => {
    const ends = { client: 'ns1', server: 'ns2' }
    expect(parseConfig(natFile(ends), 'nat.yaml').faults).toEqual([])
    expect(parseConfig(vipFile(ends), 'vip.yaml').faults).toEqual([])
    const nat = parse(natFile(ends))
    expect(nat.uplink).toEqual({
      netns: 'ns2',
      addresses: ['203.0.113.2/24'],
      peer_addresses: ['203.0.113.1/24'],
      gateway: '203.0.113.1',
    })
    expect(nat.sandboxes.client.ports).toEqual(['5201:5201'])
    const { services } = parse(vipFile(ends))
    expect(services.web).toMatchObject({ vip: '10.77.1.100', backends: ['server'] })
  })

  it('spread a fleet evenly', () => {
    const text = fleetFile(LARGE_FLEET)
    expect(parseConfig(text, 'fleet.yaml').faults).toEqual([])
    const onFirst = [...text.matchAll(/networks: \{ n1:/g)].length
    expect(onFirst).toBe(LARGE_FLEET.sandboxes / LARGE_FLEET.networks)
  })
})
