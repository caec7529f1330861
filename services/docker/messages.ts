/**
 * What Docker's remote network and IPAM drivers are asked, and what they answer: JSON by POST on a
 * unix socket, `/NetworkDriver.X` and `/IpamDriver.X` (moby: libnetwork's docs/remote.md, ipam.md).
 *
 * Requests are parsed once, here. Fields that nothing here needs are let through unread, as other
 * versions of Docker send other ones. Docker is written in Go, whose empty values are `null`, `""`
 * or missing; all three are one here.
 */
import { z } from 'zod'

/** Keys of `Options`, by Docker's names. */
export const GENERIC = 'com.docker.network.generic'
export const INTERNAL = 'com.docker.network.internal'
export const PORT_MAP = 'com.docker.network.portmap'
export const IFACE_PREFIX = 'com.docker.network.container_iface_prefix'
/** Value of `RequestAddressType` when the address of a gateway is asked for. */
export const GATEWAY_TYPE = 'com.docker.network.gateway'

/** IDs are of Docker's making: hexadecimal, 64 digits; PoolIDs are ours. */
const id: z.ZodType<string> = z.string().min(1).max(255)
const text: z.ZodType<string> = z
  .string()
  .nullish()
  .transform((value) => value ?? '')
const options: z.ZodType<Record<string, unknown>> = z
  .record(z.string(), z.unknown())
  .nullish()
  .transform((value) => value ?? {})
const texts: z.ZodType<Record<string, string>> = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {})

export interface IpamData {
  /** With bits, as the gateway. */
  readonly Pool: string
  readonly Gateway: string
  readonly AuxAddresses: Readonly<Record<string, string>>
}

const ipamData: z.ZodType<readonly IpamData[]> = z
  .array(z.object({ Pool: text, Gateway: text, AuxAddresses: texts }))
  .nullish()
  .transform((value) => value ?? [])

export interface CreateNetwork {
  readonly NetworkID: string
  readonly Options: Record<string, unknown>
  readonly IPv4Data: readonly IpamData[]
  readonly IPv6Data: readonly IpamData[]
}
export const createNetwork: z.ZodType<CreateNetwork> = z.object({
  NetworkID: id,
  Options: options,
  IPv4Data: ipamData,
  IPv6Data: ipamData,
})

export interface OfNetwork {
  readonly NetworkID: string
}
export const ofNetwork: z.ZodType<OfNetwork> = z.object({ NetworkID: id })

/** Empty fields: for the driver to choose, which here is the MAC address only. */
export interface InterfaceData {
  readonly Address: string
  readonly AddressIPv6: string
  readonly MacAddress: string
}
const interfaceData: z.ZodType<InterfaceData> = z
  .object({ Address: text, AddressIPv6: text, MacAddress: text })
  .nullish()
  .transform((value) => value ?? { Address: '', AddressIPv6: '', MacAddress: '' })

export interface CreateEndpoint {
  readonly NetworkID: string
  readonly EndpointID: string
  readonly Interface: InterfaceData
  readonly Options: Record<string, unknown>
}
export const createEndpoint: z.ZodType<CreateEndpoint> = z.object({
  NetworkID: id,
  EndpointID: id,
  Interface: interfaceData,
  Options: options,
})

export interface OfEndpoint {
  readonly NetworkID: string
  readonly EndpointID: string
  readonly Options: Record<string, unknown>
}
export const ofEndpoint: z.ZodType<OfEndpoint> = z.object({
  NetworkID: id,
  EndpointID: id,
  Options: options,
})

export interface Join {
  readonly NetworkID: string
  readonly EndpointID: string
  /** Path of the network namespace. */
  readonly SandboxKey: string
}
export const join: z.ZodType<Join> = z.object({
  NetworkID: id,
  EndpointID: id,
  SandboxKey: z.string().startsWith('/').max(4095),
})

export interface JoinAnswer {
  readonly InterfaceName: { readonly SrcName: string; readonly DstPrefix: string }
  readonly Gateway: string
  readonly GatewayIPv6: string
  /** True: Docker adds no interface of its own for the way out. */
  readonly DisableGatewayService: boolean
}

/** One port of `-p`. Docker leaves `HostPort` 0 where it is for us to choose. */
export interface PortBinding {
  readonly Proto: number
  readonly Port: number
  readonly HostIP: string
  readonly HostPort: number
  readonly HostPortEnd: number
}
const port: z.ZodType<number> = z
  .number()
  .int()
  .min(0)
  .max(65_535)
  .nullish()
  .transform((value) => value ?? 0)
export const portMap: z.ZodType<readonly PortBinding[]> = z
  .array(
    z.object({
      Proto: z.number().int().min(0).max(255),
      Port: port,
      HostIP: text,
      HostPort: port,
      HostPortEnd: port,
    }),
  )
  .nullish()
  .transform((value) => value ?? [])

export interface RequestPool {
  readonly AddressSpace: string
  /** Empty: for the driver to choose. */
  readonly Pool: string
  /** Addresses that are handed out unasked; empty: the whole pool. */
  readonly SubPool: string
  readonly Options: Record<string, unknown>
  readonly V6: boolean
}
export const requestPool: z.ZodType<RequestPool> = z.object({
  AddressSpace: text,
  Pool: text,
  SubPool: text,
  Options: options,
  V6: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
})

export interface OfPool {
  readonly PoolID: string
}
export const ofPool: z.ZodType<OfPool> = z.object({ PoolID: id })

export interface RequestAddress {
  readonly PoolID: string
  /** Empty: for the driver to choose. */
  readonly Address: string
  readonly Options: Record<string, unknown>
}
export const requestAddress: z.ZodType<RequestAddress> = z.object({
  PoolID: id,
  Address: text,
  Options: options,
})

export interface ReleaseAddress {
  readonly PoolID: string
  readonly Address: string
}
export const releaseAddress: z.ZodType<ReleaseAddress> = z.object({ PoolID: id, Address: text })

/** Calls whose content is of no matter: all of them are objects. */
export const anything: z.ZodType<Record<string, unknown>> = options
