// How many lines a blob has: its 32-byte hash in, abi.encode(uint256) out. Needs the capability "blob".
function main(input) {
  const bytes = adyton.blob(input);
  return abi.encode(["uint256"], [bytes.reduce((lines, byte) => lines + (byte === 10 ? 1 : 0), 0)]);
}
