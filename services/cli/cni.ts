/**
 * `tapline cni`, as people see it: what it is for. Runtimes give it its work in the environment,
 * which main.ts notices first (cni/).
 */
import type { Command } from 'commander'
import { StackError } from '../../stack/errors.ts'

const HELP = `
A runtime starts it with CNI_COMMAND and the other variables of the CNI specification, and the
configuration of a network on stdin. It asks the daemon that runs the network. To install it:

  $ ln -s "$(command -v tapline)" /opt/cni/bin/tapline
  $ cat /etc/cni/net.d/10-front.conflist
  { "cniVersion": "1.0.0", "name": "front",
    "plugins": [ { "type": "tapline", "network": "front", "daemon": "shop",
                   "capabilities": { "portMappings": true, "ips": true, "mac": true } } ] }
`

export function addCni(program: Command): void {
  program
    .command('cni')
    .description('be a CNI plugin: attach containers to the networks of a running daemon')
    .addHelpText('after', HELP)
    .action(() => {
      const message = 'cni is started by container runtimes, which set CNI_COMMAND; see --help'
      throw new StackError('bad-argument', message)
    })
}
