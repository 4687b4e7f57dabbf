/** Subscriptions for Node: webhooks that are verified, and workers. `docs/subscriptions.md` has the guide. */

export { Lease } from "./lease.js"
export { Subscriptions } from "./subscriptions.js"
export type * from "./types.js"
export { WebhookVerifier } from "./verifier.js"
export { Worker } from "./worker.js"
