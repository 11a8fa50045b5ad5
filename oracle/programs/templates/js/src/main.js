// How many primes are there up to n? abi.encode(uint256 n) in, abi.encode(uint256 count) out.
// A program may also be several files: `export function main` and `import` what you need; `adyton build` bundles with esbuild.
function main(input) {
  const n = Number(abi.decode(["uint256"], input)[0]);
  if (n > 10_000_000) throw new Error("n is too large");

  const composite = new Uint8Array(n + 1);
  let count = 0;
  for (let i = 2; i <= n; i++) {
    if (composite[i]) continue;
    count++;
    for (let j = i * i; j <= n; j += i) composite[j] = 1;
  }
  return abi.encode(["uint256"], [count]);
}
