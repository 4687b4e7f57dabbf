// From here the package is found, and from it the client that takes the official one's place.
export { createStateSchema } from "@durable-streams/state"
export { createStreamDB } from "@durable-streams/state/db"
