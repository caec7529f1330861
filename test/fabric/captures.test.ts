/** Captures of failed tests: a file of its own for each. */
import { describe, expect, test } from 'vitest'
import { captureName } from '../../services/testing/vitest.ts'

const seen = new Set<string>()

describe.each([['first'], ['second']])('%s', () => {
  describe('inner', () => {
    test.for([['same'], ['same'], ['x'.repeat(500)]])('%s', ([name], { task }) => {
      const file = captureName(task)
      expect(file).toMatch(/^test-fabric-captures-test-ts-(first|second)-inner-[a-z0-9-]+$/)
      expect(file.length).toBeLessThan(200)
      expect(task.name).toBe(name)
      expect(seen.has(file)).toBe(false)
      seen.add(file)
    })
  })
})
