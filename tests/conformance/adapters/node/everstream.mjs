/** The package as it is built in this checkout: nothing has to be installed. */
export * from "../../../../bindings-node/dist/index.mjs"
