/** Servers that answer who asked, and who asks them. */
import type { ChildProcess } from 'node:child_process'
import type { Lab } from './lab.ts'

/** A server that answers who asked. */
export async function serve(
  lab: Pick<Lab, 'spawn'>,
  at: string,
  port: number,
  kind: 'tcp' | 'udp' = 'tcp',
): Promise<ChildProcess> {
  const code =
    kind === 'tcp'
      ? `require('net').createServer(s => s.end('from ' + s.remoteAddress)).listen(${port}, '::',
          () => console.log('up'))`
      : `const s = require('dgram').createSocket('udp6'); s.on('message', (m, r) =>
          s.send('from ' + r.address, r.port, r.address)); s.bind(${port}, () => console.log('up'))`
  const child = lab.spawn(at, process.execPath, '-e', code)
  await new Promise<void>((resolve, reject) => {
    child.stdout!.once('data', () => resolve())
    child.once('exit', (status) => reject(new Error(`a server of port ${port} ended: ${status}`)))
  })
  return child
}

/** What the server said; empty: nothing came in two seconds. */
export async function ask(
  lab: Pick<Lab, 'exec'>,
  from: string,
  address: string,
  port: number,
  kind = 'tcp',
): Promise<string> {
  const code =
    kind === 'tcp'
      ? `const s = require('net').connect(${port}, '${address}');
          s.on('data', d => process.stdout.write(d)); s.on('end', () => process.exit(0));
          s.on('error', e => { console.log(e.code); process.exit(0) })`
      : `const s = require('dgram').createSocket('${address.includes(':') ? 'udp6' : 'udp4'}');
          s.on('message', m => { console.log(m.toString()); process.exit(0) });
          s.send('x', ${port}, '${address}')`
  const limit = 'setTimeout(() => process.exit(3), 2000).unref();'
  const { stdout } = await lab.exec(from, process.execPath, '-e', limit + code)
  return stdout.trim().replace('::ffff:', '')
}
