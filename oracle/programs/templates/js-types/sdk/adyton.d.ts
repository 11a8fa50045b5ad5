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
