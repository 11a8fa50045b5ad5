// AssemblyScript: sums the bytes of the input; 8 bytes little-endian out.
@external("adyton", "input_size") declare function input_size(): i32;
@external("adyton", "input_read") declare function input_read(to: usize, offset: i32, size: i32): i32;
@external("adyton", "output") declare function output(at: usize, size: i32): void;

export function run(): void {
  const input = new Uint8Array(input_size());
  assert(input.length > 0, "no input");
  input_read(input.dataStart, 0, input.length);
  let sum: u64 = 0;
  for (let i = 0; i < input.length; i++) sum += input[i];
  const result = new Uint8Array(8);
  store<u64>(result.dataStart, sum);
  output(result.dataStart, 8);
}
