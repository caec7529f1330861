/** Survival with the engine io_uring; see survival.ts. */
import { survivalSuite } from './survival.ts'

survivalSuite('io_uring')
