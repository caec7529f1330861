/** The file of what Docker asked for: who is killed, or loses power, finds a whole record. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type DockerRecord, NOTHING } from '../../../services/docker/record.ts'
import { RecordFile } from '../../../services/docker/record_file.ts'

let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'record-'))
  path = join(folder, 'deep', 'state.json')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function withPool(id: string): DockerRecord {
  const pool = { id, subnet: '10.1.0.0/24', addresses: ['10.1.0.2'] }
  return { ...NOTHING, pools: new Map([[id, pool]]) }
}

function poolsOf(record: DockerRecord): string[] {
  return [...record.pools.keys()]
}

describe('a record', () => {
  test('is nothing before the first', () => {
    expect(new RecordFile(path).load()).toEqual(NOTHING)
  })

  test('is found by the next process as soon as it was saved', async () => {
    const file = new RecordFile(path)
    for (const id of ['a', 'b']) {
      await file.save(withPool(id))
      expect(poolsOf(new RecordFile(path).load())).toEqual([id])
    }
    await file.close()
    expect(poolsOf(new RecordFile(path).load())).toEqual(['b'])
    expect(readdirSync(dirname(path))).toEqual(['state.json'])
  })

  test('of many calls is the last one, in a file of a bounded length', async () => {
    const file = new RecordFile(path)
    const many = withPool('x'.repeat(20_000))
    for (let i = 0; i < 200; i++) {
      await file.save({ ...many, pools: new Map([...many.pools, ...withPool(`p${i}`).pools]) })
      expect(statSync(path).size).toBeLessThan(1 << 20)
    }
    await file.flushed()
    expect(poolsOf(new RecordFile(path).load()).at(-1)).toBe('p199')
    await file.close()
  })

  test('that was being written when the process was killed is not taken', async () => {
    const file = new RecordFile(path)
    await file.save(withPool('a'))
    await file.close()
    const whole = readFileSync(path, 'utf8')
    const next = whole.replace('"a"', '"b"')
    for (const bytes of [0, 1, whole.length >> 1, whole.length - 3, whole.length - 1]) {
      writeFileSync(path, `${whole}${next.slice(0, bytes)}`)
      expect(poolsOf(new RecordFile(path).load())).toEqual(['a'])
      // The next process does not write behind it.
      const after = new RecordFile(path)
      await after.save(withPool('c'))
      await after.close()
      expect(poolsOf(new RecordFile(path).load())).toEqual(['c'])
    }
  })

  test('that was damaged on its way to the disk is not taken', async () => {
    const file = new RecordFile(path)
    for (const id of ['a', 'b']) await file.save(withPool(id))
    await file.close()
    const whole = readFileSync(path, 'utf8')
    writeFileSync(path, `${whole}${whole.slice(0, 9)}${'\0'.repeat(20)}}\n`)
    expect(poolsOf(new RecordFile(path).load())).toEqual(['b'])
  })

  test('is there after somebody moved or changed the file', async () => {
    const file = new RecordFile(path)
    await file.save(withPool('a'))
    renameSync(path, `${path}.old`)
    await file.save(withPool('b'))
    expect(poolsOf(new RecordFile(path).load())).toEqual(['b'])
    writeFileSync(path, '{"version":')
    await file.save(withPool('c'))
    expect(poolsOf(new RecordFile(path).load())).toEqual(['c'])
    await file.close()
  })

  test('that cannot be written is an error, and the one before stays', async () => {
    const file = new RecordFile(path)
    await file.save(withPool('a'))
    await file.close()
    mkdirSync(`${path}.new`)
    await expect(file.save(withPool('b'))).rejects.toThrow('EISDIR')
    expect(poolsOf(new RecordFile(path).load())).toEqual(['a'])
  })

  test('of another format is refused', () => {
    mkdirSync(join(folder, 'deep'))
    writeFileSync(path, '{"version":7}')
    expect(() => new RecordFile(path).load()).toThrow('is not a state file of version 2')
  })
})
