import { expect } from 'vitest'
import { fabricTest } from '../../services/testing/vitest.ts'
import { Shop } from './shop.ts'
import { trials } from './trials.ts'

const test = fabricTest({ seed: 7, captures: false })

test('every order is taken once, whatever the network does', async ({ fabric }) => {
  await trials(fabric)
})

/** The bug that the trials look for: every repeated order is taken as a new one. */
class Forgetful extends Shop {
  override isNew(): boolean {
    return true
  }
}

test('a shop that forgets what it has sold is found out', async ({ fabric }) => {
  await expect(trials(fabric, new Forgetful())).rejects.toThrow('to deeply equal')
})
