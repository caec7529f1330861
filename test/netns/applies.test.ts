/** Ten thousand applies leave a daemon as large as it was. */
import { request } from 'node:http'
import { describe, expect, it } from 'vitest'
import { Lab } from './lab.ts'
import { survivors } from './survival.ts'

describe('10,000 applies', () => {
  it('grow neither memory nor descriptors', async () => {
    const lab = new Lab()
    try {
      const one = survivors(lab)
      const other = one.replace(/ {2}b: .*\n/, '')
      await lab.up(one)
      const cycles = async (count: number): Promise<void> => {
        for (let i = 0; i < count; i++) {
          const { code, stderr } = await post(lab, i % 20 === 0 ? other : one)
          if (code !== 200) throw new Error(`apply ${i}: ${code} ${stderr}`)
        }
      }
      await cycles(2000)
      const before = lab.usage()
      await cycles(8000)
      const after = lab.usage()
      expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + 1)
      expect(after.rssKb).toBeLessThan(before.rssKb * 1.2 + 10_000)
      expect(await lab.ping('a', '10.1.0.11')).toBe(3)
    } finally {
      await lab.close()
    }
  }, 600_000)
})

async function post(lab: Lab, yaml: string): Promise<{ code: number; stderr: string }> {
  return new Promise((resolve, reject) => {
    const call = request(
      { socketPath: lab.socket, path: '/v1/apply', method: 'POST' },
      (response) => {
        let stderr = ''
        response.on('data', (data: Buffer) => {
          stderr += data.toString()
        })
        response.on('end', () => resolve({ code: response.statusCode ?? 0, stderr }))
      },
    )
    call.on('error', reject)
    call.end(JSON.stringify({ file: lab.file, text: yaml }))
  })
}
