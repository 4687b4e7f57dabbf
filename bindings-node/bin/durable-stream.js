#!/usr/bin/env node
"use strict"

process.exitCode = require("../native.js").runCommand(["durable-stream", ...process.argv.slice(2)])
