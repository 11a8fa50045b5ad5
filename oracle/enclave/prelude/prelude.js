// What a JavaScript program finds in its world, and how the host enters it. Evaluated once, when the engine is baked.
//
// - The program's top level runs once per program; `main` runs in a fresh copy of the memory that the top level left.
// - Nothing here depends on time or chance: Date is the request's, Math.random is seeded by the request id.
// - A program may break any global it likes: that harms its own job only. What the host relies on is captured here first.
((host, global) => {
  "use strict";
  const { apply } = Reflect;
  const { freeze, defineProperty } = Object;
  const { then } = Promise.prototype, { resolve } = Promise, { split } = String.prototype;
  const evaluate = global.eval;
  const U8 = Uint8Array, Text = String, ErrorClass = Error, OutOfMemory = InternalError, PromiseClass = Promise, BigIntOf = BigInt;
  const Buffer = ArrayBuffer, View = ArrayBuffer.isView, search = RegExp.prototype.exec, join = Array.prototype.join;
  const LOCATION = /program\.js:\d+:\d+/;
  const FAILED = 0, FAILED_FOR_MEMORY = 1, THREW_NULL = 2; // the engine throws null if no error fits into memory

  const publish = (name, value) => defineProperty(global, name, { value, writable: true, configurable: true });

  // -- bytes, text, hexadecimal -------------------------------------------------------------------------------------

  const bytesOf = (value, what) => {
    if (value instanceof U8) return value;
    if (value instanceof Buffer) return new U8(value);
    if (View(value)) return new U8(value.buffer, value.byteOffset, value.byteLength);
    throw new TypeError(`${what} must be a Uint8Array`);
  };

  publish("TextEncoder", class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(text = "") { return host.encode(Text(text)); }
  });

  publish("TextDecoder", class TextDecoder {
    constructor(label = "utf-8", options = undefined) {
      if (label !== "utf-8" && !["utf-8", "utf8"].includes(Text(label).toLowerCase())) {
        throw new RangeError("TextDecoder knows utf-8 only");
      }
      this.fatal = !!options?.fatal;
      this.ignoreBOM = !!options?.ignoreBOM;
    }
    get encoding() { return "utf-8"; }
    decode(data = new U8(0)) {
      const text = host.decode(bytesOf(data, "what TextDecoder decodes"), this.fatal ? 1 : 0);
      if (text === undefined) throw new TypeError("the bytes are not UTF-8");
      return text[0] === "\ufeff" && !this.ignoreBOM ? text.slice(1) : text;
    }
  });

  publish("hex", freeze({
    encode: (bytes) => "0x" + bytesOf(bytes, "what hex.encode takes").toHex(),
    decode: (text) => {
      if (typeof text !== "string" || !/^0x([0-9a-fA-F]{2})*$/.test(text)) {
        throw new TypeError("hex.decode takes 0x and an even number of hexadecimal digits");
      }
      return U8.fromHex(text.slice(2));
    },
  }));

  // -- the host -----------------------------------------------------------------------------------------------------

  let request;
  const duringMain = (what) => {
    if (request === undefined) throw new ErrorClass(`${what} is for main alone: the top level runs once for all requests`);
  };
  const blobHash = (hash) => {
    const bytes = typeof hash === "string" ? global.hex.decode(hash) : bytesOf(hash, "a blob's hash");
    if (bytes.length !== 32) throw new TypeError("a blob is named by the 32 bytes of its keccak256");
    return bytes;
  };
  const printable = (value) => {
    if (typeof value === "string") return value;
    try {
      if (value instanceof ErrorClass) return `${value.name}: ${value.message}`;
      if (value instanceof U8) return "0x" + value.toHex();
      if (typeof value === "object" && value !== null) return JSON.stringify(value) ?? Text(value);
    } catch { /* as below */ }
    return Text(value);
  };
  const log = (...values) => host.log(apply(join, values.map(printable), [" "]));

  publish("adyton", freeze({
    get request() { duringMain("adyton.request"); return request; },
    blob(hash) {
      duringMain("adyton.blob");
      const bytes = new U8(host.blob(blobHash(hash)));
      host.take(bytes);
      return bytes;
    },
    keccak256: (bytes) => host.keccak256(bytesOf(bytes, "what keccak256 hashes")),
    log,
  }));
  publish("console", freeze({ log, info: log, warn: log, error: log, debug: log }));

  // -- chance: xoshiro128** (https://prng.di.unimi.it), seeded per job ----------------------------------------------

  let a = 1, b = 2, c = 3, d = 4;
  const next = () => {
    const x = Math.imul(b, 5), result = Math.imul((x << 7) | (x >>> 25), 9) >>> 0, t = b << 9;
    c ^= a; d ^= b; b ^= c; a ^= d; c ^= t; d = (d << 11) | (d >>> 21);
    return result;
  };
  Math.random = () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;

  for (const name of ["WeakRef", "FinalizationRegistry", "SharedArrayBuffer", "Atomics", "performance"]) delete global[name];

  // -- entering and leaving -----------------------------------------------------------------------------------------

  const describe = (error) => {
    try {
      if (!(error instanceof ErrorClass)) return `threw ${Text(error)}`;
      const place = apply(search, LOCATION, [Text(error.stack)]);
      return `${error.name}: ${error.message}` + (place ? ` (${place[0]})` : "");
    } catch {
      return "threw a value that cannot be described";
    }
  };
  const fail = (error) => {
    const isMemory = error instanceof OutOfMemory && error.message === "out of memory";
    if (isMemory) return host.fail(FAILED_FOR_MEMORY, "out of memory");
    return error === null ? host.fail(THREW_NULL, "threw null") : host.fail(FAILED, describe(error));
  };
  const finish = (output) => {
    if (output === undefined) return host.finish(new U8(0));
    if (typeof output === "string") return host.finish(host.encode(output));
    try {
      return host.finish(bytesOf(output, "what main returns"));
    } catch {
      return host.fail(FAILED, `main returned ${typeof output}, not a Uint8Array, ArrayBuffer, string or undefined`);
    }
  };

  let main;
  const prepare = () => {
    main = evaluate("typeof main === 'function' ? main : undefined");
    if (main === undefined) throw new ErrorClass("the program defines no function main(input, request)");
  };
  // What it returns is the output, if it is a string or a Uint8Array; otherwise finish or fail has said or will say it.
  const start = (facts, input) => {
    try {
      const word = apply(split, facts, [" "]);
      a = +word[12]; b = +word[13]; c = +word[14]; d = +word[15];
      request = freeze({
        id: word[0], coprocessor: word[1], consumer: word[2], programId: word[3], poolId: word[4], inputHash: word[5],
        chainId: BigIntOf(word[6]), nonce: BigIntOf(word[7]),
        createdAt: +word[8], deadline: +word[9], callbackGas: +word[10], maxFeeGwei: +word[11],
      });
      const output = main(input, request);
      if (typeof output === "string" || output instanceof U8) return output;
      if (((typeof output === "object" && output !== null) || typeof output === "function") && typeof output.then === "function") {
        apply(then, apply(resolve, PromiseClass, [output]), [finish, fail]);
      } else {
        finish(output);
      }
    } catch (error) {
      fail(error);
    }
  };
  return [prepare, start];
})
