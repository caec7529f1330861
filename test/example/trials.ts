/** What the shop has to stand: the same in memory and on the kernel's stacks. */
import { expect } from 'vitest'
import type { Fabric } from '../../services/fabric/library.ts'
import { Shop, ShopClient } from './shop.ts'

/** The shop and its customer on two networks, with a bad link and a partition between them. */
export async function trials(fabric: Fabric, shop: Shop = new Shop()): Promise<void> {
  await fabric.network('front', { subnets: ['10.1.0.0/24'] })
  await fabric.network('back', { subnets: ['10.2.0.0/24'] })
  const customer = await fabric.sandbox('customer', { networks: ['front'] })
  const server = await fabric.sandbox('shop', { networks: ['back'] })
  server.serve(8080, shop.handler)
  const url = `http://${server.ipv4()}:8080/orders`
  const client = new ShopClient(url, (to, request) => customer.fetch(to, request))

  // All is well.
  await fabric.run(client.order('apples'))
  expect(shop.sold).toEqual(['apples'])

  // One frame in five is lost on the way, and the others take 20 ms.
  const link = fabric.link('shop', 'back')
  link.faults({ lossPct: 20, delayMs: 20 })
  for (const what of ['pears', 'plums', 'figs', 'dates']) await fabric.run(client.order(what))
  expect(shop.sold).toEqual(['apples', 'pears', 'plums', 'figs', 'dates'])

  // Shop to customer takes so long that the order arrives in time, and its answer too late.
  link.faults({ delayMs: 250 }, 'up')
  const patient = client.order('quinces')
  await fabric.advance(700)
  link.faults({})
  await fabric.run(patient)
  expect(shop.sold).toEqual(['apples', 'pears', 'plums', 'figs', 'dates', 'quinces'])

  // They are cut off from each other for a while.
  const heal = fabric.partition('customer', 'shop')
  const late = client.order('limes')
  await fabric.advance(1500)
  heal()
  await fabric.run(late)
  expect(shop.sold.at(-1)).toBe('limes')
  expect(shop.sold).toHaveLength(7)
}
