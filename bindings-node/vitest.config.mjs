import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    // What users import, and not the sources: the built package by its name.
    alias: {
      "everstream/subscriptions": new URL("./dist/subscriptions/index.mjs", import.meta.url).pathname,
      "everstream/testing": new URL("./dist/testing/index.mjs", import.meta.url).pathname,
      everstream: new URL("./dist/index.mjs", import.meta.url).pathname,
    },
    maxWorkers: 2,
  },
})
