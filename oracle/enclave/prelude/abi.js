// abi.encode(types, values) and abi.decode(types, bytes): the Solidity ABI, strictly.
//
// Types: uintN, intN, address, bool, bytesN, bytes, string, T[], T[k], (T,U,...). Integers are BigInt (encode also takes safe
// integers), address and bytesN are 0x… text in lower case (encode also takes Uint8Array), bytes is Uint8Array, arrays and
// tuples are arrays. Decoding refuses dirty padding, numbers out of range and offsets or lengths outside the data.
// Source: https://docs.soliditylang.org/en/latest/abi-spec.html
((_host, global) => {
  "use strict";
  const U8 = Uint8Array;
  const fail = (message) => { throw new TypeError(`abi: ${message}`); };
  const MAX_DEPTH = 16;

  // -- types --------------------------------------------------------------------------------------------------------

  const ATOMS = new Map([["address", { kind: "address" }], ["bool", { kind: "bool" }], ["bytes", { kind: "bytes" }],
    ["string", { kind: "string" }], ["uint", { kind: "uint", bits: 256 }], ["int", { kind: "int", bits: 256 }]]);

  const atom = (name) => {
    if (ATOMS.has(name)) return ATOMS.get(name);
    const [, kind, digits] = /^(u?int|bytes)([1-9][0-9]{0,2})$/.exec(name) ?? fail(`unknown type ${JSON.stringify(name)}`);
    const size = Number(digits);
    if (kind === "bytes" ? size > 32 : size > 256 || size % 8) fail(`unknown type ${name}`);
    return kind === "bytes" ? { kind: "fixed", size } : { kind, bits: size };
  };

  const split = (text) => {
    const parts = [];
    let depth = 0, from = 0;
    for (let at = 0; at <= text.length; at++) {
      if (text[at] === "(") depth++;
      if (text[at] === ")") depth--;
      if (at === text.length || (text[at] === "," && depth === 0)) { parts.push(text.slice(from, at)); from = at + 1; }
    }
    return text === "" ? [] : parts;
  };

  const parse = (text, depth = 0) => {
    if (typeof text !== "string") fail("a type is a string");
    if (depth > MAX_DEPTH) fail(`types nested more than ${MAX_DEPTH} deep`);
    const array = /^(.*)\[([0-9]*)\]$/.exec(text);
    if (array) {
      const of = parse(array[1], depth + 1), length = array[2] === "" ? undefined : Number(array[2]);
      return { kind: "array", of, length, ...measure(length === undefined ? undefined : [of], length) };
    }
    if (text[0] === "(" && text.at(-1) === ")") {
      const of = split(text.slice(1, -1)).map((part) => parse(part.trim(), depth + 1));
      return { kind: "tuple", of, ...measure(of, 1) };
    }
    const type = atom(text);
    return { ...type, isDynamic: type.kind === "bytes" || type.kind === "string", head: 32 };
  };
  const measure = (of, times) => {
    const isDynamic = of === undefined || of.some((type) => type.isDynamic);
    return { isDynamic, head: isDynamic ? 32 : times * of.reduce((sum, type) => sum + type.head, 0) };
  };
  const tupleOf = (types) => {
    if (!Array.isArray(types)) fail("types are an array of strings");
    const of = types.map((type) => parse(type));
    return { kind: "tuple", of, ...measure(of, 1) };
  };

  // -- encoding: hexadecimal text, joined once ----------------------------------------------------------------------

  const word = (value) => value.toString(16).padStart(64, "0");
  const padded = (digits) => digits.padEnd(Math.ceil(digits.length / 64) * 64, "0");
  const digitsOf = (value, what) => {
    if (value instanceof U8) return value.toHex();
    if (typeof value !== "string" || !/^0x([0-9a-fA-F]{2})*$/.test(value)) fail(`${what} is 0x… text or a Uint8Array`);
    return value.slice(2).toLowerCase();
  };
  const sized = (value, size, what) => {
    const digits = digitsOf(value, what);
    if (digits.length !== 2 * size) fail(`${what} has ${size} bytes, not ${digits.length / 2}`);
    return digits;
  };
  const integer = (value, { kind, bits }) => {
    if (typeof value === "number" && Number.isSafeInteger(value)) value = BigInt(value);
    if (typeof value !== "bigint") fail(`${kind}${bits} is a BigInt or a safe integer`);
    const fits = kind === "uint" ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value);
    if (fits !== value) fail(`${value} does not fit ${kind}${bits}`);
    return word(BigInt.asUintN(256, value));
  };
  const sequence = (types, values) => {
    let head = "", tail = "";
    const headSize = types.reduce((sum, type) => sum + type.head, 0);
    types.forEach((type, at) => {
      const encoded = encode(type, values[at]);
      if (type.isDynamic) { head += word(headSize + tail.length / 2); tail += encoded; } else head += encoded;
    });
    return head + tail;
  };
  const listed = (value, length, what) => {
    if (!Array.isArray(value)) fail(`${what} takes an array of values`);
    if (length !== undefined && value.length !== length) fail(`${what} of ${length} got ${value.length} values`);
    return value;
  };
  const encode = (type, value) => {
    switch (type.kind) {
      case "uint": case "int": return integer(value, type);
      case "bool": return typeof value === "boolean" ? word(value ? 1 : 0) : fail("bool is true or false");
      case "address": return sized(value, 20, "address").padStart(64, "0");
      case "fixed": return padded(sized(value, type.size, `bytes${type.size}`));
      case "string": if (typeof value !== "string") fail("string is a string"); value = new TextEncoder().encode(value);
      // falls through
      case "bytes": { const digits = digitsOf(value, "bytes"); return word(digits.length / 2) + padded(digits); }
      case "tuple": return sequence(type.of, listed(value, type.of.length, "a tuple"));
      case "array": {
        const values = listed(value, type.length, "an array");
        return (type.length === undefined ? word(values.length) : "") + sequence(values.map(() => type.of), values);
      }
    }
  };

  // -- decoding -----------------------------------------------------------------------------------------------------

  const slice = (data, at, size) => (at + size <= data.length ? data.subarray(at, at + size) : fail("the data ends too early"));
  const number = (data, at) => BigInt("0x" + slice(data, at, 32).toHex());
  const length = (data, at) => {
    const value = number(data, at);
    return value <= BigInt(data.length) ? Number(value) : fail("an offset or length is outside the data");
  };
  const clean = (bytes) => { if (bytes.some((byte) => byte !== 0)) fail("padding is not zero"); };
  const members = (data, base, types) => {
    let at = base;
    return types.map((type) => {
      const value = decode(data, type.isDynamic ? base + length(data, at) : at, type);
      at += type.head;
      return value;
    });
  };
  const decode = (data, at, type) => {
    switch (type.kind) {
      case "uint": case "int": {
        const raw = number(data, at), value = type.kind === "int" ? BigInt.asIntN(256, raw) : raw;
        const fits = type.kind === "uint" ? BigInt.asUintN(type.bits, value) : BigInt.asIntN(type.bits, value);
        return fits === value ? value : fail(`a value does not fit ${type.kind}${type.bits}`);
      }
      case "bool": { const value = number(data, at); return value < 2n ? value === 1n : fail("a bool is neither 0 nor 1"); }
      case "address": clean(slice(data, at, 12)); return "0x" + slice(data, at + 12, 20).toHex();
      case "fixed": clean(slice(data, at, 32).subarray(type.size)); return "0x" + slice(data, at, type.size).toHex();
      case "bytes": case "string": {
        const size = length(data, at), bytes = slice(data, at + 32, size).slice();
        clean(slice(data, at + 32, Math.ceil(size / 32) * 32).subarray(size));
        return type.kind === "bytes" ? bytes : new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      }
      case "tuple": return members(data, at, type.of);
      case "array": {
        const base = type.length === undefined ? at + 32 : at, count = type.length ?? length(data, at);
        if (base + count * Math.max(type.of.head, 32) > data.length) fail("an array is longer than the data");
        return members(data, base, new Array(count).fill(type.of));
      }
    }
  };

  const bytesOf = (data) => (typeof data === "string" ? global.hex.decode(data) : data instanceof U8 ? data : fail("decode takes bytes"));
  Object.defineProperty(global, "abi", {
    value: Object.freeze({
      encode: (types, values) => {
        const type = tupleOf(types);
        return U8.fromHex(sequence(type.of, listed(values, type.of.length, "encode")));
      },
      decode: (types, data) => members(bytesOf(data), 0, tupleOf(types).of),
    }),
    writable: true,
    configurable: true,
  });
})
