/**
 * Two daemons with one overlay of both families between them, and a sandbox `app` at each:
 * 10.2.0.11 and fd00:2::11 at the first, .12 and ::12 at the second; and who counts what comes.
 */
import type { Lab } from './lab.ts'

export const PORT = 7000

/** Takes connections; a line: how many octets came. */
export const SINK: string = `
  let total = 0
  net.createServer((socket) => {
    socket.on('data', (data) => { total += data.length }).on('error', () => {})
  }).listen(${PORT}, '::', () => tell('listens'))
  told(() => tell(total))
`

/** Precondition: the daemons' namespaces have 10.200.0.1 and .2. */
export async function upPair(labs: readonly Lab[], offload = true): Promise<void> {
  for (const [index, lab] of labs.entries()) {
    const [own, far] = [index + 1, 2 - index]
    await lab.up(`
name: pair${own}
node:
  name: n${own}
  underlay: { address: 10.200.0.${own} }
  peers: [ 10.200.0.${far} ]
networks:
  back:
    driver: overlay
    enable_ipv6: true
    driver_opts:
      com.docker.network.driver.overlay.vxlanid_list: "4097"
      tapline.offload: "${offload}"
    ipam: { config: [ { subnet: 10.2.0.0/24 }, { subnet: "fd00:2::/64" } ] }
    remote:
      - { vtep: 10.200.0.${far}, mac: "02:00:00:00:00:1${far}", ipv4_address: 10.2.0.1${far},
          ipv6_address: "fd00:2::1${far}" }
sandboxes:
  app:
    netns: ${lab.ns('app')}
    networks:
      back: { ipv4_address: 10.2.0.1${own}, ipv6_address: "fd00:2::1${own}",
              mac_address: "02:00:00:00:00:1${own}" }
`)
  }
}
