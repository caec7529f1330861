/** What a program gets that imports `tapline`: fabrics, what they throw, and the types of both. */
// biome-ignore-all lint/performance/noBarrelFile: it is the package's entry
export { StackError } from '../../stack/errors.ts'
export { createFabric, Fabric, type FabricOptions } from './fabric.ts'
export { PingError } from './ping.ts'
export { TcpError } from './tcp_error.ts'
export type * from './types.ts'
