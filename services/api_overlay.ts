/** The part of the API about other nodes, and whether everything is as it should be. */
import type { Handler } from './api.ts'
import { checkInside, type InsideFault } from './inside_check.ts'
import { type OverlayCheck, overlayCheck, peers } from './views_overlay.ts'

/** What `tapline check --live` is told. */
export interface LiveCheck extends OverlayCheck {
  readonly inside: readonly InsideFault[]
}

export const OVERLAY_HANDLERS: Readonly<Record<string, Handler>> = {
  'GET /v1/peers': ({ controller }) => peers(controller.node),
  'GET /v1/check': async ({ controller: { node } }): Promise<LiveCheck> => ({
    ...overlayCheck(node),
    inside: await checkInside(node),
  }),
}
