/** An internal network of a whole node: neither virtual addresses nor ports are a way through. */
import { expect, it } from 'vitest'
import type { TraceRequest } from '../../services/trace_request.ts'
import { Rig } from './rig.ts'

const FILE = {
  name: 't',
  networks: {
    front: {
      enable_ipv6: true,
      ipam: { config: [{ subnet: '10.1.0.0/24' }, { subnet: 'fd01::/64' }] },
    },
    inner: {
      internal: true,
      enable_ipv6: true,
      ipam: { config: [{ subnet: '10.3.0.0/24' }, { subnet: 'fd03::/64' }] },
    },
  },
  sandboxes: {
    web: { networks: ['front'], ports: ['8080:80'] },
    // By a port of its own it has a default route.
    deep: { networks: ['inner'], ports: ['8088:80'] },
  },
  services: {
    store: {
      network: 'inner',
      vip: ['10.3.0.100', 'fd03::100'],
      ports: [{ target: 80, published: 8099 }],
      backends: ['deep'],
    },
  },
}

const tcp = (from: string, to: string, dport: number): TraceRequest => ({
  from,
  to,
  proto: 'tcp',
  dport,
})

it.each<[TraceRequest, string]>([
  [tcp('web', '10.3.0.100', 80), 'dropped network-internal'],
  [tcp('web', 'fd03::100', 80), 'dropped network-internal'],
  [tcp('web', '10.1.0.1', 8088), 'queued would wait until 10.3.0.2 answers on inner'],
  [tcp('web', 'fd01::1', 8088), 'queued would wait until fd03::2 answers on inner'],
  [tcp('deep', '10.3.0.1', 8080), 'dropped network-internal'],
  [tcp('deep', 'fd03::1', 8080), 'dropped network-internal'],
  [tcp('deep', '10.1.0.1', 8080), 'dropped network-internal'],
  [tcp('deep', 'fd01::1', 8080), 'dropped network-internal'],
  [tcp('deep', '10.3.0.1', 8088), 'queued would wait until 10.3.0.2 answers on inner'],
  [tcp('deep', 'fd03::1', 8088), 'queued would wait until fd03::2 answers on inner'],
])('%j', async (request, end) => {
  const rig = new Rig()
  await rig.apply(FILE)
  const { ends } = rig.controller.trace(request)
  expect(ends.map(({ verdict, detail }) => `${verdict} ${detail}`)).toEqual([end])
  await rig.finish()
})
