// How many primes are there up to n? abi.encode(uint256 n) in, abi.encode(uint256 count) out.
import { countPrimes } from "./primes";

export function main(input: Uint8Array): Uint8Array {
  const [n] = abi.decode<[bigint]>(["uint256"], input);
  if (n > 10_000_000n) throw new Error("n is too large");
  return abi.encode(["uint256"], [countPrimes(Number(n))]);
}
