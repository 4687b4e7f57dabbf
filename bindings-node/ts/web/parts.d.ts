/** What `wasm-bindgen` writes; `scripts/web.mjs` knows where it is. */
declare module "everstream-web-glue" {
  export function initSync(module: { module: WebAssembly.Module }): void
  export const Client: unknown
  export const Stream: unknown
  export const checkCheckpoint: unknown
  export const setErrorFactory: unknown
}

/** Starts the module: one of the files `module-*.ts`, which differ in where it comes from. */
declare module "everstream-web-module" {}

/** The module itself: its bytes where it is inlined, ready to run where the platform compiles it. */
declare module "everstream-wasm" {
  const bytes: Uint8Array<ArrayBuffer>
  export default bytes
}
