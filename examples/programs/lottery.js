// Draws one of n: abi.encode(uint256 n) in, abi.encode(uint256) out. The same request always draws the same number.
// The requester can choose among requests before paying, so never use this where that matters.
async function main(input, request) {
  const [n] = abi.decode(["uint256"], input);
  if (n === 0n || n > 2n ** 53n) throw new RangeError("n must be from 1 to 2^53");
  const drawn = BigInt(Math.floor(Math.random() * Number(n)));
  console.log(`request ${request.id} draws ${drawn} of ${n}`);
  return abi.encode(["uint256"], [drawn]);
}
