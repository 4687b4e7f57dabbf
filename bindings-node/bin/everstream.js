#!/usr/bin/env node
"use strict"

process.exitCode = require("../native.js").runCommand(["everstream", ...process.argv.slice(2)])
