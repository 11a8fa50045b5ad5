#!/usr/bin/env node
// A `solc` executable made of npm's soljson: what py-solc-x and forge call when no native solc of the
// pinned version is on PATH. Supports the two calls they make, `--version` and `--standard-json`.
//
// The package's own string call copies its argument to the WebAssembly stack and crashes beyond about
// 1 MB; here the input is written to a block from the compiler's own allocator, `_solidity_alloc`.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const soljson = require(path.join(__dirname, '..', 'node_modules', 'solc', 'soljson.js'));

function compile(input) {
  const size = soljson.lengthBytesUTF8(input) + 1;
  const pointer = soljson._solidity_alloc(size);
  soljson.stringToUTF8(input, pointer, size);
  const output = soljson.UTF8ToString(soljson._solidity_compile(pointer, 0, 0));
  soljson._solidity_reset();
  return output;
}

function main(args) {
  if (args.includes('--version')) {
    const version = soljson.UTF8ToString(soljson._solidity_version());
    process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`);
    return 0;
  }
  if (args.includes('--standard-json')) {
    process.stdout.write(compile(fs.readFileSync(0, 'utf8')));
    return 0;
  }
  process.stderr.write('solc.js: only --version and --standard-json are supported\n');
  return 2;
}

process.exitCode = main(process.argv.slice(2));
