/** The file of what Docker asked for: who is killed, or loses power, finds a whole record. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type DockerRecord, NOTHING, RecordFile } from '../../../services/docker/record.ts'

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
    const saved = file.save(withPool('a'))
    expect(poolsOf(await saved.then(() => new RecordFile(path).load()))).toEqual(['a'])
    await file.flushed()
    expect(existsSync(`${path}.new`)).toBe(false)
    expect(poolsOf(new RecordFile(path).load())).toEqual(['a'])
  })

  test('of many calls is the last one', async () => {
    const file = new RecordFile(path)
    for (let i = 0; i < 50; i++) await file.save(withPool(`p${i}`))
    expect(poolsOf(new RecordFile(path).load())).toEqual(['p49'])
    await file.flushed()
    expect(poolsOf(new RecordFile(path).load())).toEqual(['p49'])
  })

  test('that was being written when the process was killed is not taken', async () => {
    const file = new RecordFile(path)
    await file.save(withPool('a'))
    await file.flushed()
    const whole = readFileSync(path, 'utf8')
    for (const bytes of [0, 1, whole.length >> 1, whole.length - 3]) {
      writeFileSync(`${path}.new`, whole.replace('"a"', '"b"').slice(0, bytes))
      expect(poolsOf(new RecordFile(path).load())).toEqual(['a'])
    }
    writeFileSync(`${path}.new`, whole.replace('"a"', '"b"'))
    expect(poolsOf(new RecordFile(path).load())).toEqual(['b'])
  })

  test('that cannot be written is an error, and the one before stays', async () => {
    const file = new RecordFile(path)
    await file.save(withPool('a'))
    await file.flushed()
    mkdirSync(`${path}.new`)
    await expect(file.save(withPool('b'))).rejects.toThrow('EISDIR')
    expect(poolsOf(new RecordFile(path).load())).toEqual(['a'])
  })

  test('of another format is refused', () => {
    mkdirSync(join(folder, 'deep'))
    writeFileSync(path, '{"version":7}')
    expect(() => new RecordFile(path).load()).toThrow('is not a state file of version 1')
  })
})
