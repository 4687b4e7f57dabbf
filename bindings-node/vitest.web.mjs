import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test-web/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // The tests' servers and writers are those of the package on Node; pages import what is built for browsers.
    alias: {
      "everstream/testing": new URL("./dist/testing/index.mjs", import.meta.url).pathname,
      everstream: new URL("./dist/index.mjs", import.meta.url).pathname,
    },
    // Each file has a browser of its own.
    maxWorkers: 2,
  },
})
