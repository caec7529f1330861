/** The drivers of this version. A new one is a file beside this and a line here. */
import type { DriverName } from '../config/model.ts'
import type { Context } from '../context.ts'
import { BridgeDriver } from './bridge.ts'
import { ContainerDriver } from './container.ts'
import type { NetworkDriver } from './driver.ts'
import { HostDriver } from './host.ts'
import { NullDriver } from './null.ts'

export type Drivers = { readonly [N in DriverName]: NetworkDriver }

export function makeDrivers(context: Context): Drivers {
  return {
    bridge: new BridgeDriver(context),
    null: new NullDriver(),
    host: new HostDriver(),
    container: new ContainerDriver(),
  }
}
