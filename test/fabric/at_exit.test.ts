/** What is taken away with a process that nobody asked to. */
import { expect, it, onTestFinished } from 'vitest'
import { atExit } from '../../services/fabric/at_exit.ts'

it('ends all, the latest first, though one fails', () => {
  const order: string[] = []
  const forget = [
    atExit(() => order.push('fabric')),
    atExit(() => {
      throw new Error('no')
    }),
    atExit(() => order.push('program')),
  ]
  onTestFinished(() => {
    for (const each of forget) each()
  })
  const endAll = process.listeners('exit').find(({ name }) => name === 'endAll')
  expect(() => endAll?.(0)).toThrow(AggregateError)
  expect(order).toEqual(['program', 'fabric'])
})
