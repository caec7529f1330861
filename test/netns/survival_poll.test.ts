/** Survival with the engine poll; see survival.ts. */
import { survivalSuite } from './survival.ts'

survivalSuite('poll')
