// The world of an Adyton program, for editors and `tsc`. Nothing of this is in the artifact. See docs/PROGRAMS.md.

/** What one request is. Numbers that fit are numbers, others BigInt; ids, addresses and hashes are 0x… text. */
interface AdytonRequest {
  readonly id: string;
  readonly coprocessor: string;
  readonly consumer: string;
  readonly programId: string;
  readonly poolId: string;
  readonly inputHash: string;
  readonly chainId: bigint;
  readonly nonce: bigint;
  /** Unix seconds, as are all times. */
  readonly createdAt: number;
  readonly deadline: number;
  readonly callbackGas: number;
  readonly maxFeeGwei: number;
}

declare const adyton: {
  /** Inside `main` alone. */
  readonly request: AdytonRequest;
  /** The bytes whose keccak256 is `hash`; needs the capability "blob". */
  blob(hash: string | Uint8Array): Uint8Array;
  keccak256(bytes: ArrayBuffer | ArrayBufferView): Uint8Array;
  /** A line in the operator's log; not part of the receipt. */
  log(...values: unknown[]): void;
};

/** Decoded: integers are bigint, address and bytesN 0x… text, bytes Uint8Array, arrays and tuples arrays. */
type AbiValue = bigint | boolean | string | Uint8Array | AbiValue[];
/** To encode: integers may also be safe numbers; address, bytesN and bytes may be 0x… text or Uint8Array. */
type AbiInput = bigint | number | boolean | string | Uint8Array | readonly AbiInput[];

declare const abi: {
  /** As Solidity's `abi.encode`. */
  encode(types: readonly string[], values: readonly AbiInput[]): Uint8Array;
  /** Throws on dirty padding, values out of range, data outside the bytes. Say what comes: `decode<[bigint]>(…)`. */
  decode<T extends readonly AbiValue[] = AbiValue[]>(types: readonly string[], data: string | Uint8Array): T;
};

declare const hex: {
  encode(bytes: ArrayBuffer | ArrayBufferView): string;
  decode(text: string): Uint8Array;
};

/** HTTPS, inside `main`; needs the capability "fetch" and the table [fetch] of adyton-program.toml. */
declare function fetch(
  url: string,
  options?: {
    method?: string;
    headers?: Headers | Iterable<readonly [string, string]> | Record<string, string>;
    body?: string | ArrayBuffer | ArrayBufferView;
    redirect?: "follow" | "error" | "manual";
  },
): Promise<Response>;

declare class Headers {
  constructor(init?: Headers | Iterable<readonly [string, string]> | Record<string, string>);
  append(name: string, value: string): void;
  set(name: string, value: string): void;
  delete(name: string): void;
  get(name: string): string | null;
  has(name: string): boolean;
  getSetCookie(): string[];
  entries(): IterableIterator<[string, string]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}

declare class Response {
  readonly status: number;
  readonly statusText: string;
  readonly ok: boolean;
  readonly url: string;
  readonly redirected: boolean;
  readonly headers: Headers;
  readonly bodyUsed: boolean;
  bytes(): Promise<Uint8Array>;
  arrayBuffer(): Promise<ArrayBuffer>;
  text(): Promise<string>;
  json(): Promise<any>;
  clone(): Response;
}

declare const console: Record<"log" | "info" | "warn" | "error" | "debug", (...values: unknown[]) => void>;

declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(text?: string): Uint8Array;
}

declare class TextDecoder {
  constructor(label?: "utf-8" | "utf8", options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: "utf-8";
  decode(data?: ArrayBuffer | ArrayBufferView): string;
}
