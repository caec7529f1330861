/** The thread that config_aside.ts starts: reads one text, and answers with what is in it. */
import { parentPort, workerData } from 'node:worker_threads'
import { parseConfig } from './config/parse.ts'
import type { ConfigText } from './config_file.ts'

const { text, file } = workerData as ConfigText
parentPort?.postMessage(parseConfig(text, file))
