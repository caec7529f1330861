/** The example on TAPs: the customer and the shop on the kernel's own TCP, in namespaces. */
import { fabricTest } from '../../services/testing/vitest.ts'
import { trials } from '../example/trials.ts'

const test = fabricTest({ devices: 'tap', seed: 7 })

test('every order is taken once, whatever the network does', async ({ fabric }) => {
  await trials(fabric)
})
