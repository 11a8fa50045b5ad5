// Verify DCAP quotes with npm @phala/dcap-qvl: cases as JSON lines on standard input, verdicts as JSON lines out.
"use strict";

const path = require("node:path");
const readline = require("node:readline");

const packages = process.argv[2] ?? path.join(__dirname, "../../../node_modules");
const { QuoteVerifier } = require(path.join(packages, "@phala/dcap-qvl"));

async function verdict({ quote, collateral, root, at_s }) {
  try {
    const verifier = root === null ? QuoteVerifier.newProd() : QuoteVerifier.newWithRootCa(Buffer.from(root, "hex"));
    const report = await verifier.verify(Buffer.from(quote, "hex"), collateral, at_s);
    return { status: report.status, advisories: report.advisory_ids };
  } catch (error) {
    return { refused: String(error.message ?? error) };
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await verdict(JSON.parse(line)))}\n`);
  }
}

main();
