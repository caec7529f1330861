/**
 * The null forwarder: tapline's own runtime with two TAPs, each one's frames given to the other
 * as they are, and no element between. What it moves is what the I/O engine could move; the
 * distance from it to tapline is what bridge, proxy ARP and guards cost.
 *
 *   null.js ENGINE NETNS ADDRESS/BITS NETNS ADDRESS/BITS
 *
 * Prints a line that begins `ready`; SIGTERM ends it.
 */
import { type EngineChoice, Runtime } from '../services/runtime.ts'
import { parsePrefix } from '../stack/address.ts'
import type { Device } from '../stack/device.ts'
import { randomMac } from '../stack/eth/mac.ts'
import { INTERFACE } from './netns.ts'

const [engine, ...ends] = process.argv.slice(2)
const runtime = new Runtime({ engine: engine as EngineChoice, placement: true })

function attach(netns: string, address: string): Promise<Device> {
  return runtime.links.attach({
    sandbox: netns,
    netns,
    interfaceName: INTERFACE,
    deviceName: netns,
    mac: randomMac(runtime.random),
    mtuBytes: 1500,
    addresses: [parsePrefix(address)],
    routes: [],
    offload: true,
  })
}

const [firstNetns = '', firstAddress = '', secondNetns = '', secondAddress = ''] = ends
const first = await attach(firstNetns, firstAddress)
const second = await attach(secondNetns, secondAddress)
first.output = (packet) => second.transmit(packet)
second.output = (packet) => first.transmit(packet)
process.on('SIGTERM', () => {
  runtime.close()
  process.exit(0)
})
process.stdout.write(`ready ${runtime.describe}\n`)
