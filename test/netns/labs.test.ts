/**
 * The labs of the documentation, pasted: they end well, print what their pages show, and leave
 * nothing behind. page_lab.ts says how a page is read.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { hasTool } from './lab.ts'
import { type Reading, readLab, runLab } from './page_lab.ts'

const ROOT = join(import.meta.dirname, '../..')
/** Of one lab, on a machine with other work. */
const LIMIT_MS = 200_000

interface Page extends Reading {
  /** Programs that it calls, and the packages that have them. */
  readonly tools?: Readonly<Record<string, string>>
}

const PAGES: Readonly<Record<string, Page>> = {
  'README.md': {
    // Building, Docker, and what `tapline lab` does: test/interop, overlay_lab.test.ts.
    skip: ['npm start', 'npm run build', 'tapline docker', 'tapline lab'],
  },
  'docs/arp.md': { tools: { tcpdump: 'tcpdump', arping: 'iputils-arping' } },
  'docs/balancer.md': {},
  // A slow sender earns more than five.
  'docs/bridge.md': { tools: { python3: 'python3' }, varies: ['45'] },
  // Which pings they are.
  'docs/capture.md': {
    skip: ['# tapline capture -w web.pcapng -c 1000', "# tapline capture 'tcp port 80"],
    varies: ['seq 1', 'seq 2', 'id 15114'],
  },
  'docs/dhcp.md': { tools: { udhcpc: 'udhcpc' } },
  'docs/dns.md': { tools: { dig: 'bind9-dnsutils' } },
  'docs/drops.md': {},
  // The identifier of a ping, and how many take the long way.
  'docs/flow-cache.md': { varies: [':14935', '18   1.76k  769ms'] },
  'docs/gossip.md': {},
  'docs/ipam.md': {},
  'docs/macvlan.md': {},
  'docs/multicast.md': {},
  'docs/nat.md': { varies: [':14935', '29s'] },
  'docs/policy.md': {},
  // How segments share packets is up to the kernels.
  'docs/ports.md': { varies: ['10     556'] },
  'docs/router.md': { tools: { traceroute: 'traceroute' } },
  'docs/trace.md': {},
  'docs/underlay.md': {},
  'docs/uplink.md': { skip: ['iptables'], tools: { nft: 'nftables' } },
}

/** Pages with commands that are not run here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'docs/cli.md': 'examples, of no one file; test/services/cli.test.ts and cli.test.ts have each',
  'docs/cni.md': 'needs containerd: test/interop/cni.test.ts',
  'docs/docker.md': 'needs Docker: test/interop/docker.test.ts, packaging.test.ts',
  'docs/gossip-tables.md': 'needs two hosts; docs/gossip.md is the same in namespaces',
  'docs/overlay.md': 'overlay_lab.test.ts runs tapline lab',
  'docs/overlay-encryption.md': 'makes a key only; overlay_encrypted.test.ts',
  'docs/simulator.md': 'the test suite itself',
}

it('knows of every page with commands', () => {
  const pages = readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`)
  const labs = ['README.md', ...pages].filter((page) =>
    /^```(sh|console)$/m.test(readFileSync(join(ROOT, page), 'utf8')),
  )
  expect([...Object.keys(PAGES), ...Object.keys(ELSEWHERE)].sort()).toEqual(labs.sort())
})

describe.concurrent('the lab of', { timeout: LIMIT_MS + 20_000 }, () => {
  it.for(Object.entries(PAGES))('%s', async ([page, { tools = {}, ...reading }], context) => {
    const has = Object.entries(tools).every(([tool, name]) => hasTool(tool, name))
    if (!has) return context.skip('a tool is missing')
    const commands = readLab(page, reading)
    expect(commands.length).toBeGreaterThan(2)
    const { faults, transcript } = await runLab(commands, LIMIT_MS)
    expect(faults, transcript).toEqual([])
  })
})
