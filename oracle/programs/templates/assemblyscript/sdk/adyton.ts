// What an AssemblyScript program needs in an Adyton enclave. One file, part of your project; change it as you like.
//
// - The entry: `export function run(): void` is called once per request.
// - The host: input, output, log, facts of the request, blob, keccak256. `fail` ends the job as Trapped.
// - The Solidity ABI: `Reader` and `Writer`. Reading is strict: what Solidity would not decode ends the job as Trapped.
//
//   type in Solidity     read                          write
//   uintN, intN          u64, i64, uint(N), int(N)     u64, i64, u256
//   bool, address        bool, address                 bool, address
//   bytesN               fixed(N)                      fixed
//   bytes, string        bytes, string                 bytes, string
//   T[]                  array(): then read each T     array(count, writer with each T)
//   T[k], static tuple   read the parts one by one     write the parts one by one
//   dynamic tuple        tuple(): then read the parts  tuple(writer with the parts)

@external("adyton", "input_size") declare function host_input_size(): i32;
@external("adyton", "input_read") declare function host_input_read(to: usize, offset: i32, size: i32): i32;
@external("adyton", "output") declare function host_output(at: usize, size: i32): void;
@external("adyton", "log") declare function host_log(at: usize, size: i32): void;
@external("adyton", "fact") declare function host_fact(number: i32, to: usize): i32;
@external("adyton", "blob_size") declare function host_blob_size(hash: usize): i64;
@external("adyton", "blob_read") declare function host_blob_read(hash: usize, to: usize, offset: i32, size: i32): i32;
@external("adyton", "keccak256") declare function host_keccak256(at: usize, size: i32, to: usize): void;
@external("adyton", "fail") declare function host_fail(at: usize, size: i32): void;

// -- the host ---------------------------------------------------------------------------------------------------------

export function input(): Uint8Array {
  const data = new Uint8Array(host_input_size());
  host_input_read(data.dataStart, 0, data.length);
  return data;
}

/** Appends to the output. */
export function output(data: Uint8Array): void { host_output(data.dataStart, data.length); }

export function log(text: string): void {
  const data = String.UTF8.encode(text);
  host_log(changetype<usize>(data), data.byteLength);
}

export function fail(reason: string): void {
  const data = String.UTF8.encode(reason);
  host_fail(changetype<usize>(data), data.byteLength);
}

export function keccak256(data: Uint8Array): Uint8Array {
  const hash = new Uint8Array(32);
  host_keccak256(data.dataStart, data.length, hash.dataStart);
  return hash;
}

/** The bytes behind a keccak256 hash; needs the capability "blob". */
export function blob(hash: Uint8Array): Uint8Array {
  if (hash.length != 32) fail("a blob is named by 32 bytes");
  const data = new Uint8Array(<i32>host_blob_size(hash.dataStart));
  host_blob_read(hash.dataStart, data.dataStart, 0, data.length);
  return data;
}

export enum Fact {
  RequestId, ChainId, Coprocessor, Consumer, ProgramId, PoolId, InputHash, Nonce, CreatedAt, Deadline, CallbackGas,
  MaxFeeGwei,
}

/** A fact of the request: 32 bytes, 20 for the two addresses, 8 little-endian from Nonce on. */
export function fact(which: Fact): Uint8Array {
  const data = new Uint8Array(32);
  return data.slice(0, host_fact(which, data.dataStart));
}

/** A fact that is a number: Nonce, CreatedAt and Deadline (unix seconds), CallbackGas, MaxFeeGwei. */
export function factNumber(which: Fact): u64 {
  if (which < Fact.Nonce) fail("this fact is not a number");
  return load<u64>(fact(which).dataStart);
}

/** 256 bits, `a` the least significant; two's complement for intN. */
export class U256 {
  constructor(public a: u64 = 0, public b: u64 = 0, public c: u64 = 0, public d: u64 = 0) {}
  static fromU64(value: u64): U256 { return new U256(value); }
  static fromI64(value: i64): U256 {
    const sign: u64 = value < 0 ? u64.MAX_VALUE : 0;
    return new U256(<u64>value, sign, sign, sign);
  }
  /** Unsigned: -1, 0 or 1. */
  compare(other: U256): i32 {
    if (this.d != other.d) return this.d < other.d ? -1 : 1;
    if (this.c != other.c) return this.c < other.c ? -1 : 1;
    if (this.b != other.b) return this.b < other.b ? -1 : 1;
    return this.a == other.a ? 0 : this.a < other.a ? -1 : 1;
  }
  compareSigned(other: U256): i32 {
    const sign: u64 = 1 << 63;
    return new U256(this.a, this.b, this.c, this.d ^ sign).compare(new U256(other.a, other.b, other.c, other.d ^ sign));
  }
}

// -- reading the ABI --------------------------------------------------------------------------------------------------

/** One tuple, or one array's items. `new Reader(input())` reads the arguments of `abi.encode`. */
export class Reader {
  private at: i32 = 0;
  constructor(private data: Uint8Array, private base: i32 = 0) {}

  private get size(): i32 { return this.data.length - this.base; }
  private word(): usize {
    if (this.size - this.at < 32) fail("abi: the data ends too early");
    this.at += 32;
    return this.data.dataStart + this.base + this.at - 32;
  }
  private fill(at: usize, size: i32, byte: u8, reason: string): void {
    for (let i = 0; i < size; i++) if (load<u8>(at + i) != byte) fail(reason);
  }
  private static of(word: usize): U256 {
    return new U256(bswap(load<u64>(word, 24)), bswap(load<u64>(word, 16)), bswap(load<u64>(word, 8)), bswap(load<u64>(word)));
  }
  uint(bits: i32): U256 {
    const word = this.word();
    this.fill(word, 32 - bits / 8, 0, "abi: a value does not fit its type");
    return Reader.of(word);
  }
  int(bits: i32): U256 {
    const word = this.word();
    const sign: u8 = load<u8>(word + 32 - bits / 8) & 0x80 ? 0xff : 0;
    this.fill(word, 32 - bits / 8, sign, "abi: a value does not fit its type");
    return Reader.of(word);
  }
  u64(): u64 { return this.uint(64).a; }
  i64(): i64 { return <i64>this.int(64).a; }
  bool(): bool {
    const value = this.uint(8).a;
    if (value > 1) fail("abi: a bool is neither 0 nor 1");
    return value == 1;
  }
  private copy(from: usize, size: i32): Uint8Array {
    const bytes = new Uint8Array(size);
    memory.copy(bytes.dataStart, from, size);
    return bytes;
  }
  /** 20 bytes. */
  address(): Uint8Array {
    const word = this.word();
    this.fill(word, 12, 0, "abi: padding is not zero");
    return this.copy(word + 12, 20);
  }
  /** bytesN as N bytes. */
  fixed(size: i32): Uint8Array {
    const word = this.word();
    this.fill(word + size, 32 - size, 0, "abi: padding is not zero");
    return this.copy(word, size);
  }
  private length(): i32 {
    const value = Reader.of(this.word());
    if (value.compare(U256.fromU64(this.size)) > 0) fail("abi: an offset or length is outside the data");
    return <i32>value.a;
  }
  tuple(): Reader { return new Reader(this.data, this.base + this.length()); }
  /** The items, to be read `count` times; `count` is how many there are. */
  array(): Items {
    const head = this.tuple(), count = head.length();
    if (count > (head.size - 32) / 32) fail("abi: an array is longer than the data");
    return new Items(this.data, head.base + 32, count);
  }
  bytes(): Uint8Array {
    const inner = this.tuple(), size = inner.length(), padded = (size + 31) / 32 * 32;
    if (padded > inner.size - 32) fail("abi: the data ends too early");
    const from = this.data.dataStart + inner.base + 32;
    this.fill(from + size, padded - size, 0, "abi: padding is not zero");
    return this.copy(from, size);
  }
  string(): string { return String.UTF8.decode(this.bytes().buffer); }
}

export class Items extends Reader {
  constructor(data: Uint8Array, base: i32, public count: i32) { super(data, base); }
}

// -- writing the ABI --------------------------------------------------------------------------------------------------

/** One tuple, or one array's items. Values are written in order; `encoded()` is what `abi.encode` gives. */
export class Writer {
  private heads: Array<U256> = [];
  private raw: Array<Uint8Array | null> = []; // a word as bytes, in the place of the number
  private tails: Array<Uint8Array> = [];
  private isOffset: Array<bool> = [];

  private head(value: U256, raw: Uint8Array | null = null, isOffset: bool = false): Writer {
    this.heads.push(value);
    this.raw.push(raw);
    this.isOffset.push(isOffset);
    return this;
  }
  private tail(data: Uint8Array): Writer {
    this.tails.push(data);
    return this.head(U256.fromU64(data.length), null, true);
  }
  u256(value: U256): Writer { return this.head(value); }
  u64(value: u64): Writer { return this.head(U256.fromU64(value)); }
  i64(value: i64): Writer { return this.head(U256.fromI64(value)); }
  bool(value: bool): Writer { return this.head(U256.fromU64(value ? 1 : 0)); }
  address(value: Uint8Array): Writer {
    if (value.length != 20) fail("abi: an address has 20 bytes");
    const word = new Uint8Array(32);
    word.set(value, 12);
    return this.head(new U256(), word);
  }
  fixed(value: Uint8Array): Writer {
    if (value.length > 32) fail("abi: bytesN has at most 32 bytes");
    const word = new Uint8Array(32);
    word.set(value);
    return this.head(new U256(), word);
  }
  bytes(value: Uint8Array): Writer {
    const data = new Uint8Array(32 + (value.length + 31) / 32 * 32);
    Writer.put(data, 0, U256.fromU64(value.length));
    data.set(value, 32);
    return this.tail(data);
  }
  string(value: string): Writer { return this.bytes(Uint8Array.wrap(String.UTF8.encode(value))); }
  tuple(inner: Writer): Writer { return this.tail(inner.encoded()); }
  array(count: i32, items: Writer): Writer {
    const inner = items.encoded(), data = new Uint8Array(32 + inner.length);
    Writer.put(data, 0, U256.fromU64(count));
    data.set(inner, 32);
    return this.tail(data);
  }
  private static put(data: Uint8Array, at: i32, value: U256): void {
    const to = data.dataStart + at;
    store<u64>(to, bswap(value.d));
    store<u64>(to, bswap(value.c), 8);
    store<u64>(to, bswap(value.b), 16);
    store<u64>(to, bswap(value.a), 24);
  }
  /** What `abi.encode` would give. */
  encoded(): Uint8Array {
    let size = 32 * this.heads.length;
    for (let i = 0; i < this.tails.length; i++) size += this.tails[i].length;
    const data = new Uint8Array(size);
    let tail = 32 * this.heads.length;
    for (let i = 0, t = 0; i < this.heads.length; i++) {
      const raw = this.raw[i];
      if (raw !== null) data.set<Uint8Array>(raw as Uint8Array, 32 * i);
      else if (!this.isOffset[i]) Writer.put(data, 32 * i, this.heads[i]);
      else {
        Writer.put(data, 32 * i, U256.fromU64(tail));
        data.set(this.tails[t], tail);
        tail += this.tails[t++].length;
      }
    }
    return data;
  }
}
