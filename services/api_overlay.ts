/** The part of the API about other nodes: tunnel ends, and whether tables are as they should be. */
import type { Handler } from './api.ts'
import { overlayCheck, peers } from './views_overlay.ts'

export const OVERLAY_HANDLERS: Readonly<Record<string, Handler>> = {
  'GET /v1/peers': ({ controller }) => peers(controller.node),
  'GET /v1/overlay/check': ({ controller }) => overlayCheck(controller.node),
}
