/**
 * Who watches which device. A watch may name devices, or mean all of them, those that come later
 * included; edges are told only when something changes, so that watching costs nothing while
 * nobody does.
 */
import type { CaptureSink } from './device_end.ts'
import { notFound } from './not_found.ts'

/** A thing that can be watched: see {@link Edge.watch}. */
interface Watched {
  readonly device: { readonly name: string }
  watch(sinks: readonly CaptureSink[]): void
}

interface Watch {
  readonly devices: readonly string[] | 'all'
  readonly sink: CaptureSink
}

export class Captures {
  readonly #watches = new Set<Watch>()
  readonly #edges = new Map<string, Watched>()

  /**
   * Watch devices until the returned function is called (idempotent).
   * @throws StackError `not-found` for a device that is not there.
   */
  attach(devices: readonly string[] | 'all', sink: CaptureSink): () => void {
    if (devices !== 'all') for (const name of devices) this.#find(name)
    const watch: Watch = { devices, sink }
    this.#watches.add(watch)
    this.#tell()
    return () => {
      if (this.#watches.delete(watch)) this.#tell()
    }
  }

  /** An edge that can be watched from now on. */
  add(edge: Watched): void {
    this.#edges.set(edge.device.name, edge)
    if (this.#watches.size > 0) edge.watch(this.#sinksOf(edge.device.name))
  }

  remove(edge: Watched): void {
    if (this.#edges.get(edge.device.name) === edge) this.#edges.delete(edge.device.name)
  }

  #find(name: string): void {
    if (this.#edges.has(name)) return
    throw notFound('no device', name, this.#edges.keys())
  }

  #tell(): void {
    for (const [name, edge] of this.#edges) edge.watch(this.#sinksOf(name))
  }

  #sinksOf(name: string): CaptureSink[] {
    return [...this.#watches]
      .filter(({ devices }) => devices === 'all' || devices.includes(name))
      .map(({ sink }) => sink)
  }
}
