/**
 * Saying that a daemon is ready: a line on stdout for whoever started it by hand, and a datagram
 * for systemd (`Type=notify`), which starts what comes after it only then.
 */
import { complain, print } from './output.ts'

/** `text`: what there is, in a line. */
export async function announceReady(text: string): Promise<void> {
  print(`ready ${text}`)
  const { NOTIFY_SOCKET: path = '' } = process.env
  if (path === '') return
  const { sendUnixDatagram } = await import('../../stack/native/notify.ts')
  try {
    sendUnixDatagram(path, `READY=1\nSTATUS=${text}`)
  } catch (error) {
    complain(`the service manager was not told: ${(error as Error).message}`)
  }
}
