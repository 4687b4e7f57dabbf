/** `AbortSignal`s over native calls: what is aborted rejects with the signal's reason, and leaves no listener behind. */
import { backend, type Abort } from "./backend.js"

type Signal = AbortSignal | undefined

/** Makes a call that any of the signals gives up. */
export function withSignals<T>(signals: readonly Signal[], call: (abort?: Abort) => Promise<T>): Promise<T> {
  const given = signals.filter((signal) => signal !== undefined)
  if (given.length === 0) {
    return called(call)
  }
  const aborted = given.find((signal) => signal.aborted)
  if (aborted !== undefined) {
    return Promise.reject(aborted.reason)
  }
  return new Promise<T>((resolve, reject) => {
    const abort = new backend.Abort()
    const listeners = given.map((signal) => {
      const listener = (): void => {
        abort.abort()
        done()
        reject(signal.reason)
      }
      signal.addEventListener("abort", listener, { once: true })
      return () => signal.removeEventListener("abort", listener)
    })
    const done = (): void => listeners.forEach((remove) => remove())
    called(() => call(abort)).finally(done).then(resolve, reject)
  })
}

/** What a native call throws at once is a rejection as well. */
function called<T>(call: () => Promise<T>): Promise<T> {
  try {
    return call()
  } catch (error) {
    return Promise.reject(error)
  }
}
