/** React: a stream as state. */
import { useCallback, useMemo, useSyncExternalStore } from "react"

import { StreamStore, type StreamView, type StoreOptions } from "./store.js"

export type { StreamState, StreamView, StoreOptions } from "./store.js"

/**
 * Reads a stream while the component is mounted: the messages of a JSON stream, the chunks of any other.
 *
 * The read begins with the first render that is shown, ends with the last, and begins anew when `url` or what
 * `options` say changes; objects and functions in `options` may be made anew with each render. A component that is mounted
 * again at once, as strict mode does, goes on from where it was.
 *
 * ```tsx
 * const { items, state, error } = useStream<{ order: number }>("/v1/stream/orders")
 * ```
 */
export function useStream<T = unknown>(url: string | URL | null | undefined, options: StoreOptions = {}): StreamView<T> {
  const key = JSON.stringify([url == null ? null : String(url), options])
  // `options` are those of the render that changed the key.
  // eslint-disable-next-line react-hooks/exhaustive-deps
  const store = useMemo(() => (url == null ? undefined : new StreamStore<T>(url, options)), [key])
  const subscribe = useCallback((changed: () => void) => store?.subscribe(changed) ?? (() => {}), [store])
  const view = useCallback(() => store?.view ?? (IDLE as StreamView<T>), [store])
  return useSyncExternalStore(subscribe, view, view)
}

const IDLE: StreamView<never> = {
  items: [],
  offset: undefined,
  checkpoint: undefined,
  state: "idle",
  error: undefined,
  retry: () => {},
}
