/**
 * Reads large configurations in a thread of their own, so that the data path goes on: YAML of
 * 20,000 routes takes two seconds. Small ones are read at once, in less time than a thread takes
 * to start.
 */
import { Worker } from 'node:worker_threads'
import type { Config } from './config/model.ts'
import type { Parsed } from './config/parse.ts'
import { type ConfigText, configOf, toConfig } from './config_file.ts'

const THREAD = new URL('./config_thread.js', import.meta.url)
/** Some 300 lines. */
const SMALL_BYTES = 16 << 10

/** What {@link toConfig} does. @throws ConfigFaults */
export async function toConfigAside(source: ConfigText): Promise<Config> {
  return source.text.length < SMALL_BYTES ? toConfig(source) : configOf(await parseAside(source))
}

function parseAside(source: ConfigText): Promise<Parsed> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(THREAD, { workerData: source })
    // A daemon that ends does not wait for it.
    worker.unref()
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('the thread that reads the file has ended')))
  })
}
