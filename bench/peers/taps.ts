/** What the switches have in common that open two TAPs by themselves, named `left` and `right`. */
import { adopt, INTERFACE, setLink } from '../netns.ts'
import { runSync, until } from '../shell.ts'
import { CLIENT, type Place, SWITCHED_SERVER, TX_QUEUE_FRAMES } from './peer.ts'

/**
 * Wait for both TAPs in the middle and move each into its end. Their owner goes on using the
 * descriptors that it has.
 */
export async function adoptTaps({ client, server, middle }: Place): Promise<void> {
  await until('both TAPs', () => {
    const links = runSync(['ip', '-n', middle, '-o', 'link'])
    return links.includes(' left:') && links.includes(' right:')
  })
  adopt('left', { from: middle, to: client, address: `${CLIENT}/24` })
  adopt('right', { from: middle, to: server, address: `${SWITCHED_SERVER}/24` })
  for (const netns of [client, server]) {
    setLink(netns, INTERFACE, 'txqueuelen', `${TX_QUEUE_FRAMES}`)
  }
}
