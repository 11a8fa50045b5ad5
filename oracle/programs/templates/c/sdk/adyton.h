// adyton.h: what a C program needs in an Adyton enclave. One file, part of your project; change it as you like.
//
// - The entry: `ADYTON_RUN { ... }` is called once per request.
// - The host: input, output, log, facts of the request, blobs, keccak256. `adyton_fail` ends the job as Trapped.
// - The Solidity ABI: a reader and a writer. Reading is strict: what Solidity would not decode ends the job as Trapped.
// Memory is from malloc and is never freed here: all of it is gone when the job ends.
//
//   type in Solidity     read                                      write
//   uintN, intN          adyton_read_u64, _i64, _uint, _int        adyton_write_u64, _i64, _u256
//   bool, address        adyton_read_bool, _address                adyton_write_bool, _address
//   bytesN               adyton_read_fixed                         adyton_write_fixed
//   bytes, string        adyton_read_bytes                         adyton_write_bytes
//   T[]                  adyton_read_array: then read each T       adyton_write_array: of a writer with each T
//   T[k], static tuple   read the parts one by one                 write the parts one by one
//   dynamic tuple        adyton_read_tuple: then read the parts    adyton_write_tuple: of a writer with the parts
#ifndef ADYTON_H
#define ADYTON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ADYTON_IMPORT(name) __attribute__((import_module("adyton"), import_name(name)))
#define ADYTON_RUN __attribute__((export_name("run"))) void adyton_run(void)

// -- the host ---------------------------------------------------------------------------------------------------------

ADYTON_IMPORT("input_size") uint32_t adyton_host_input_size(void);
ADYTON_IMPORT("input_read") uint32_t adyton_host_input_read(void *to, uint32_t offset, uint32_t size);
ADYTON_IMPORT("output") void adyton_output(const void *at, size_t size);  // appends to the output
ADYTON_IMPORT("log") void adyton_host_log(const void *at, size_t size);
ADYTON_IMPORT("fact") int32_t adyton_fact(uint32_t number, void *to);  // the fact's size in bytes, or -1
ADYTON_IMPORT("blob_size") uint64_t adyton_blob_size(const uint8_t hash[32]);  // needs the capability "blob"
ADYTON_IMPORT("blob_read") uint32_t adyton_blob_read(const uint8_t hash[32], void *to, uint32_t offset, uint32_t size);
ADYTON_IMPORT("keccak256") void adyton_keccak256(const void *at, size_t size, uint8_t to[32]);
ADYTON_IMPORT("fetch") uint32_t adyton_host_fetch(const void *head, size_t head_size, const void *body, size_t body_size);
ADYTON_IMPORT("fetch_size") uint32_t adyton_host_fetch_size(uint32_t part);
ADYTON_IMPORT("fetch_read") uint32_t adyton_host_fetch_read(uint32_t part, void *to, uint32_t offset, uint32_t size);
ADYTON_IMPORT("fail") _Noreturn void adyton_host_fail(const void *at, size_t size);

enum {  // for adyton_fact
  ADYTON_REQUEST_ID, ADYTON_CHAIN_ID, ADYTON_COPROCESSOR, ADYTON_CONSUMER, ADYTON_PROGRAM_ID, ADYTON_POOL_ID,
  ADYTON_INPUT_HASH, ADYTON_NONCE, ADYTON_CREATED_AT, ADYTON_DEADLINE, ADYTON_CALLBACK_GAS, ADYTON_MAX_FEE_GWEI,
};

typedef struct { const uint8_t *at; size_t size; } adyton_bytes;
typedef struct { uint64_t limb[4]; } adyton_u256;  // the least significant first; two's complement for intN
typedef struct { uint8_t bytes[20]; } adyton_address;

static inline void adyton_log(const char *text) { adyton_host_log(text, strlen(text)); }
static inline _Noreturn void adyton_fail(const char *reason) { adyton_host_fail(reason, strlen(reason)); }
static inline void *adyton_allocate(size_t size) {
  void *at = malloc(size ? size : 1);
  if (!at) adyton_fail("out of memory");
  return at;
}
// The request's creation in unix seconds: the only time there is.
static inline uint64_t adyton_created_at(void) {
  uint64_t seconds;
  adyton_fact(ADYTON_CREATED_AT, &seconds);
  return seconds;
}
static inline adyton_bytes adyton_input_bytes(void) {
  uint32_t size = adyton_host_input_size();
  uint8_t *at = adyton_allocate(size);
  adyton_host_input_read(at, 0, size);
  return (adyton_bytes){at, size};
}
static inline adyton_bytes adyton_blob(const uint8_t hash[32]) {
  uint32_t size = (uint32_t)adyton_blob_size(hash);
  uint8_t *at = adyton_allocate(size);
  adyton_blob_read(hash, at, 0, size);
  return (adyton_bytes){at, size};
}

// HTTPS; needs the capability "fetch". `head` is "GET https://host/path follow", then a line "name: value" per header.
// The status; 0 if there was no answer, and then `answer` says why. `answer` may be NULL.
static inline uint32_t adyton_fetch(const char *head, adyton_bytes body, adyton_bytes *answer) {
  uint32_t status = adyton_host_fetch(head, strlen(head), body.at, body.size);
  if (answer) {
    uint32_t size = adyton_host_fetch_size(0);
    uint8_t *at = adyton_allocate(size);
    adyton_host_fetch_read(0, at, 0, size);
    *answer = (adyton_bytes){at, size};
  }
  return status;
}

// -- numbers of 256 bits ----------------------------------------------------------------------------------------------

static inline adyton_u256 adyton_from_u64(uint64_t value) { return (adyton_u256){{value, 0, 0, 0}}; }
static inline adyton_u256 adyton_from_i64(int64_t value) {
  uint64_t sign = value < 0 ? UINT64_MAX : 0;
  return (adyton_u256){{(uint64_t)value, sign, sign, sign}};
}
static inline int adyton_compare(adyton_u256 a, adyton_u256 b) {  // unsigned: -1, 0 or 1
  for (int i = 3; i >= 0; i--) if (a.limb[i] != b.limb[i]) return a.limb[i] < b.limb[i] ? -1 : 1;
  return 0;
}
static inline int adyton_compare_signed(adyton_u256 a, adyton_u256 b) {
  a.limb[3] ^= 1ull << 63, b.limb[3] ^= 1ull << 63;
  return adyton_compare(a, b);
}

// -- reading the ABI --------------------------------------------------------------------------------------------------

typedef struct { const uint8_t *base; size_t size; size_t at; } adyton_reader;  // one tuple, or one array's items

static inline adyton_reader adyton_read(adyton_bytes data) { return (adyton_reader){data.at, data.size, 0}; }
static inline adyton_reader adyton_input(void) { return adyton_read(adyton_input_bytes()); }

static inline const uint8_t *adyton_read_word(adyton_reader *r) {
  if (r->size - r->at < 32) adyton_fail("abi: the data ends too early");
  r->at += 32;
  return r->base + r->at - 32;
}
static inline void adyton_require_fill(const uint8_t *at, size_t size, uint8_t fill, const char *reason) {
  for (size_t i = 0; i < size; i++) if (at[i] != fill) adyton_fail(reason);
}
static inline adyton_u256 adyton_from_word(const uint8_t *word) {
  adyton_u256 value = {{0}};
  for (int i = 0; i < 32; i++) value.limb[3 - i / 8] = value.limb[3 - i / 8] << 8 | word[i];
  return value;
}
static inline adyton_u256 adyton_read_uint(adyton_reader *r, int bits) {
  const uint8_t *word = adyton_read_word(r);
  adyton_require_fill(word, 32 - bits / 8, 0, "abi: a value does not fit its type");
  return adyton_from_word(word);
}
static inline adyton_u256 adyton_read_int(adyton_reader *r, int bits) {
  const uint8_t *word = adyton_read_word(r);
  uint8_t sign = word[32 - bits / 8] & 0x80 ? 0xff : 0;
  adyton_require_fill(word, 32 - bits / 8, sign, "abi: a value does not fit its type");
  return adyton_from_word(word);
}
static inline uint64_t adyton_read_u64(adyton_reader *r) { return adyton_read_uint(r, 64).limb[0]; }
static inline int64_t adyton_read_i64(adyton_reader *r) { return (int64_t)adyton_read_int(r, 64).limb[0]; }
static inline bool adyton_read_bool(adyton_reader *r) {
  uint64_t value = adyton_read_uint(r, 8).limb[0];
  if (value > 1) adyton_fail("abi: a bool is neither 0 nor 1");
  return value;
}
static inline adyton_address adyton_read_address(adyton_reader *r) {
  const uint8_t *word = adyton_read_word(r);
  adyton_address value;
  adyton_require_fill(word, 12, 0, "abi: padding is not zero");
  memcpy(value.bytes, word + 12, 20);
  return value;
}
static inline void adyton_read_fixed(adyton_reader *r, uint8_t *to, size_t size) {  // bytesN
  const uint8_t *word = adyton_read_word(r);
  adyton_require_fill(word + size, 32 - size, 0, "abi: padding is not zero");
  memcpy(to, word, size);
}
static inline size_t adyton_read_length(adyton_reader *r) {
  adyton_u256 value = adyton_from_word(adyton_read_word(r));
  if (adyton_compare(value, adyton_from_u64(r->size)) > 0) adyton_fail("abi: an offset or length is outside the data");
  return (size_t)value.limb[0];
}
static inline adyton_reader adyton_read_tuple(adyton_reader *r) {
  size_t offset = adyton_read_length(r);
  return (adyton_reader){r->base + offset, r->size - offset, 0};
}
static inline adyton_reader adyton_read_array(adyton_reader *r, size_t *count) {
  adyton_reader items = adyton_read_tuple(r);
  *count = adyton_read_length(&items);
  if (*count > (items.size - 32) / 32) adyton_fail("abi: an array is longer than the data");
  return (adyton_reader){items.base + 32, items.size - 32, 0};
}
static inline adyton_bytes adyton_read_bytes(adyton_reader *r) {  // also string; the bytes stay where the input is
  adyton_reader inner = adyton_read_tuple(r);
  size_t size = adyton_read_length(&inner), padded = (size + 31) / 32 * 32;
  if (padded > inner.size - 32) adyton_fail("abi: the data ends too early");
  adyton_require_fill(inner.base + 32 + size, padded - size, 0, "abi: padding is not zero");
  return (adyton_bytes){inner.base + 32, size};
}

// -- writing the ABI --------------------------------------------------------------------------------------------------

typedef struct { uint8_t *base; size_t head, at, size, room; } adyton_writer;  // one tuple, or one array's items

// `words` is how many words the heads take: one for each value, and k for T[k] or a static tuple of k words.
static inline adyton_writer adyton_writer_of(size_t words) {
  adyton_writer w = {adyton_allocate(32 * words + 256), 32 * words, 0, 32 * words, 32 * words + 256};
  return w;
}
static inline uint8_t *adyton_write_head(adyton_writer *w) {
  if (w->at == w->head) adyton_fail("abi: more values are written than adyton_writer_of was told");
  w->at += 32;
  memset(w->base + w->at - 32, 0, 32);
  return w->base + w->at - 32;
}
static inline void adyton_to_word(uint8_t *word, adyton_u256 value) {
  for (int i = 0; i < 32; i++) word[i] = (uint8_t)(value.limb[3 - i / 8] >> (56 - 8 * (i % 8)));
}
static inline void adyton_write_u256(adyton_writer *w, adyton_u256 value) { adyton_to_word(adyton_write_head(w), value); }
static inline void adyton_write_u64(adyton_writer *w, uint64_t value) { adyton_write_u256(w, adyton_from_u64(value)); }
static inline void adyton_write_i64(adyton_writer *w, int64_t value) { adyton_write_u256(w, adyton_from_i64(value)); }
static inline void adyton_write_bool(adyton_writer *w, bool value) { adyton_write_u64(w, value); }
static inline void adyton_write_address(adyton_writer *w, adyton_address value) {
  memcpy(adyton_write_head(w) + 12, value.bytes, 20);
}
static inline void adyton_write_fixed(adyton_writer *w, const uint8_t *at, size_t size) {
  memcpy(adyton_write_head(w), at, size);
}
// A place at the end for `size` bytes, which a head names.
static inline uint8_t *adyton_write_tail(adyton_writer *w, size_t size) {
  adyton_write_u64(w, w->size);
  if (w->size + size > w->room) {
    w->room = 2 * (w->size + size);
    w->base = realloc(w->base, w->room);
    if (!w->base) adyton_fail("out of memory");
  }
  w->size += size;
  return w->base + w->size - size;
}
static inline void adyton_write_bytes(adyton_writer *w, const void *at, size_t size) {  // also string
  size_t padded = (size + 31) / 32 * 32;
  uint8_t *to = adyton_write_tail(w, 32 + padded);
  adyton_to_word(to, adyton_from_u64(size));
  memset(to + 32 + size, 0, padded - size);
  if (size) memcpy(to + 32, at, size);
}
static inline void adyton_require_full(const adyton_writer *w) {
  if (w->at != w->head) adyton_fail("abi: fewer values are written than adyton_writer_of was told");
}
static inline void adyton_write_tuple(adyton_writer *w, const adyton_writer *inner) {
  adyton_require_full(inner);
  memcpy(adyton_write_tail(w, inner->size), inner->base, inner->size);
}
static inline void adyton_write_array(adyton_writer *w, size_t count, const adyton_writer *items) {
  adyton_require_full(items);
  uint8_t *to = adyton_write_tail(w, 32 + items->size);
  adyton_to_word(to, adyton_from_u64(count));
  memcpy(to + 32, items->base, items->size);
}
static inline void adyton_return(const adyton_writer *w) {
  adyton_require_full(w);
  adyton_output(w->base, w->size);
}

#endif
