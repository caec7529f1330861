/**
 * Names of ports, for SRV questions about ports that the configuration gives no name. Those that
 * services of containers have; the whole of IANA's registry would be guessing.
 */
const PORTS: Readonly<Record<string, number>> = {
  ftp: 21,
  ssh: 22,
  smtp: 25,
  domain: 53,
  dns: 53,
  http: 80,
  kerberos: 88,
  pop3: 110,
  ntp: 123,
  imap: 143,
  ldap: 389,
  https: 443,
  submission: 587,
  ldaps: 636,
  'domain-s': 853,
  imaps: 993,
  mqtt: 1883,
  mysql: 3306,
  postgresql: 5432,
  amqp: 5672,
  redis: 6379,
  memcache: 11_211,
  mongodb: 27_017,
}

export function portOf(name: string): number | undefined {
  return Object.hasOwn(PORTS, name) ? PORTS[name] : undefined
}
