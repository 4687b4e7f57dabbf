/** The official client's wrappers of `fetch`, for those who use them by themselves. This package does not. */
import { FetchBackoffAbortError, FetchError } from "./errors.js"
import type { BackoffOptions } from "./types.js"

type Fetch = typeof globalThis.fetch

/** The official defaults. Here they hold for {@link createFetchWithBackoff}; handles and reads have an end to retries. */
export const BackoffDefaults: BackoffOptions = {
  initialDelay: 100,
  maxDelay: 60_000,
  multiplier: 1.3,
  maxRetries: Infinity,
}

/** The longest wait that a server can ask for by naming a date. */
const LONGEST_DATE_MS = 3_600_000

/**
 * Tries again what failed: no answer, 5xx, 429; other 4xx are thrown at once. Waits as long as `Retry-After` says, and
 * at least a random part of a delay that grows. An abort ends the wait.
 */
export function createFetchWithBackoff(fetchClient: Fetch, backoffOptions: BackoffOptions = BackoffDefaults): Fetch {
  const { initialDelay, maxDelay, multiplier, maxRetries = Infinity, onFailedAttempt, debug = false } = backoffOptions
  return async (input, init) => {
    const signal = init?.signal ?? undefined
    let bound = initialDelay
    for (let retries = 0; ; retries += 1) {
      let failed: unknown
      try {
        const response = await fetchClient(input, init)
        if (response.ok) {
          return response
        }
        failed = await FetchError.fromResponse(response, String(input))
      } catch (error) {
        failed = error
      }
      onFailedAttempt?.()
      if (signal?.aborted) {
        throw new FetchBackoffAbortError()
      }
      const status = failed instanceof FetchError ? failed.status : undefined
      const final = status !== undefined && status >= 400 && status < 500 && status !== 429
      if (final || retries >= maxRetries) {
        throw failed
      }
      const asked = failed instanceof FetchError ? retryAfterMs(failed.headers["retry-after"]) : 0
      const wait = Math.max(asked, Math.min(Math.random() * bound, maxDelay))
      if (debug) {
        console.log(`Retry attempt #${retries + 1} after ${wait}ms`)
      }
      await sleep(wait, signal)
      bound = Math.min(bound * multiplier, maxDelay)
    }
  }
}

/** Reads the body before it gives the answer, so that the connection is free again. */
export function createFetchWithConsumedBody(fetchClient: Fetch): Fetch {
  return async (input, init) => {
    const response = await fetchClient(input, init)
    const { status, statusText, headers } = response
    if (status < 200 || [201, 204, 205].includes(status)) {
      return response
    }
    try {
      return new Response(await response.arrayBuffer(), { status, statusText, headers })
    } catch (error) {
      if (init?.signal?.aborted) {
        throw new FetchBackoffAbortError()
      }
      const message = error instanceof Error ? error.message : typeof error === "string" ? error : "failed to read body"
      throw new FetchError(status, undefined, undefined, Object.fromEntries(headers.entries()), String(input), message)
    }
  }
}

function retryAfterMs(value: string | undefined): number {
  if (!value) {
    return 0
  }
  const seconds = Number(value)
  if (Number.isFinite(seconds) && seconds > 0) {
    return seconds * 1000
  }
  const date = Date.parse(value)
  return Number.isNaN(date) ? 0 : Math.min(Math.max(date - Date.now(), 0), LONGEST_DATE_MS)
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted)
      resolve()
    }, ms)
    const aborted = (): void => {
      clearTimeout(timer)
      reject(new FetchBackoffAbortError())
    }
    signal?.addEventListener("abort", aborted, { once: true })
  })
}
