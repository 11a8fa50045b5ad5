// How many primes are there up to n? abi.encode(uint256 n) in, abi.encode(uint256 count) out.
import { Reader, Writer, fail, input, output } from "../sdk/adyton";

export function run(): void {
  const n = new Reader(input()).u64();
  if (n > 10_000_000) fail("n is too large");

  const composite = new Uint8Array(<i32>n + 1);
  let count: u64 = 0;
  for (let i: u64 = 2; i <= n; i++) {
    if (composite[<i32>i]) continue;
    count++;
    for (let j = i * i; j <= n; j += i) composite[<i32>j] = 1;
  }
  output(new Writer().u64(count).encoded());
}
