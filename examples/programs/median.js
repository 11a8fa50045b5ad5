// The median of integers: abi.encode(int256[]) in, abi.encode(int256) out.
function main(input) {
  const [values] = abi.decode(["int256[]"], input);
  if (values.length === 0) throw new Error("no values");
  values.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return abi.encode(["int256"], [values[values.length >> 1]]);
}
