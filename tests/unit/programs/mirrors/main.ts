// AssemblyScript: decodes one value of every kind and encodes it again.
import { Reader, Writer, input, output } from "../sdk/adyton";

export function run(): void {
  const data = new Reader(input()), out = new Writer();
  out.u256(data.uint(256)).u256(data.int(256)).u256(data.int(24)).bool(data.bool()).address(data.address());
  out.fixed(data.fixed(4)).bytes(data.bytes()).string(data.string());

  const numbers = data.array(), numbersOut = new Writer();
  for (let i = 0; i < numbers.count; i++) numbersOut.u64(numbers.u64());
  out.array(numbers.count, numbersOut);

  const names = data.array(), namesOut = new Writer();
  for (let i = 0; i < names.count; i++) namesOut.string(names.string());
  out.array(names.count, namesOut);

  const parts = data.tuple(), partsOut = new Writer(); // T[k] of dynamic T: an offset to its items
  for (let i = 0; i < 2; i++) {
    const part = parts.tuple();
    partsOut.tuple(new Writer().u256(part.uint(8)).bytes(part.bytes()));
  }
  out.tuple(partsOut).u64(data.u64()).bool(data.bool()).u256(data.uint(16)).u256(data.uint(16));
  output(out.encoded());
}
