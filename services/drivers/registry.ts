/** The drivers of this version. A new one is a file beside this and a line here. */
import type { DriverName } from '../config/model.ts'
import type { Context } from '../context.ts'
import { BridgeDriver } from './bridge.ts'
import type { NetworkDriver } from './driver.ts'
import { MacvlanDriver } from './macvlan.ts'
import { StackDriver } from './stack.ts'

export type Drivers = { readonly [N in DriverName]: NetworkDriver }

export function makeDrivers(context: Context): Drivers {
  return {
    bridge: new BridgeDriver('bridge', context),
    overlay: new BridgeDriver('overlay', context),
    macvlan: new MacvlanDriver(context),
    null: new StackDriver('null'),
    host: new StackDriver('host'),
    container: new StackDriver('container'),
  }
}
