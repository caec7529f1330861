/** What a CNI plugin prints: results of ADD in the version that was asked for, and errors. */
import type { Attachment } from '../attachments.ts'
import { type CniError, type Dns, type Json, NEWEST, objects, type Version } from './conf.ts'

/** The result of ADD (specification, section 5). */
export function addResult(made: Attachment, version: Version, dns: Dns): Json {
  const mtu = version === '1.1.0' ? { mtu: made.mtuBytes } : {}
  return {
    cniVersion: version,
    interfaces: [{ name: made.interfaceName, mac: made.mac, ...mtu, sandbox: made.netns }],
    ips: made.addresses.map(({ address, gateway }) => ({
      ...family(address, version),
      address,
      gateway,
      interface: 0,
    })),
    routes: made.routes.map(({ to, via }) => ({ dst: to, gw: via })),
    dns: dnsResult(dns),
  }
}

/** Before 1.0.0, each address said of which family it was. */
function family(address: string, version: Version): Json {
  if (!version.startsWith('0.')) return {}
  return { version: address.includes(':') ? '6' : '4' }
}

function dnsResult({ nameservers, domain, search, options }: Dns): Json {
  return {
    ...(nameservers.length > 0 && { nameservers }),
    ...(domain !== '' && { domain }),
    ...(search.length > 0 && { search }),
    ...(options.length > 0 && { options }),
  }
}

export function errorResult(error: CniError, version: Version | undefined): Json {
  const { code, message: msg, details } = error
  return { cniVersion: version ?? NEWEST, code, msg, ...(details !== '' && { details }) }
}

/** Addresses and the sandbox's MACs in a result of ADD. @throws CniError `Config`. */
export function resultOf(previous: Json): { readonly ips: string[]; readonly macs: string[] } {
  return {
    ips: objects(previous, 'ips').map(({ address }) => String(address)),
    macs: objects(previous, 'interfaces')
      .filter(({ sandbox }) => sandbox)
      .map(({ mac }) => String(mac)),
  }
}
