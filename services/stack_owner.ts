/**
 * Sandboxes that share another's stack (driver `container`): its interfaces and its resolver are
 * theirs, so who names them there means those of the owner.
 */
import type { SandboxState } from './state.ts'

/** Whose stack a sandbox has: its own, or that which it shares. */
export function stackOwner(
  sandboxes: ReadonlyMap<string, SandboxState>,
  name: string,
): SandboxState | undefined {
  const sandbox = sandboxes.get(name)
  if (sandbox?.stack !== 'shared') return sandbox
  const isOwner = ({ stack, netns }: SandboxState): boolean =>
    stack !== 'shared' && netns === sandbox.netns
  return [...sandboxes.values()].find(isOwner)
}

/** `side` and `side/eth0` as the owner of the stack has them; others as they are. */
export function ownersName(sandboxes: ReadonlyMap<string, SandboxState>, named: string): string {
  const [sandbox = '', ...rest] = named.split('/')
  const owner = stackOwner(sandboxes, sandbox)
  return owner === undefined ? named : [owner.name, ...rest].join('/')
}
