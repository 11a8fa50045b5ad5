// Decodes one value of every kind and encodes it again; what the other languages are compared with.
const TYPES = ["uint256", "int256", "int24", "bool", "address", "bytes4", "bytes", "string", "uint64[]", "string[]",
  "(uint8,bytes)[2]", "(uint64,bool)", "uint16[2]"];

function main(input) {
  return abi.encode(TYPES, abi.decode(TYPES, input));
}
