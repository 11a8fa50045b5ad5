/*
 * QuickJS-NG as a guest of the sandbox: what the host enters, and the one function through which it is called back.
 *
 * `boot`, `compile`, `install` and `settle` run when the engine is baked (oracle/enclave/build.py); `evaluate` and `find_main` when
 * a program is prepared; `run` once per job, so that a job crosses the boundary once. Results are left in `result`.
 * Everything here is inside the sandbox: a mistake can spoil a job, never the host.
 */
#include <stdint.h>
#include <stdlib.h>

#include "quickjs.h"

#define EXPORT(name) __attribute__((export_name(#name)))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What a function left in `result`. The numbers are those of oracle/enclave/javascript.py. */
enum kind { NOTHING, TEXT, BYTES, FOREIGN, THREW };

/* In the order of HOST_FUNCTIONS in oracle/enclave/javascript.py. */
static const char *const HOST_FUNCTIONS[] = {"log", "blob", "take", "keccak256", "encode", "decode", "finish", "fail", "fetch"};
enum { ENCODE = 4, DECODE = 5 };

/* The host's function number `function`. May call back into this module. */
__attribute__((import_module("adyton"), import_name("call"))) extern JSValue host_call(
    uint32_t function, const JSValueConst *arguments);

static JSRuntime *runtime;
static JSContext *context;
static JSValue prepare_function, start_function;
static uint8_t scratch[8192]; /* the host writes what is small here */
static struct {
  const uint8_t *address;
  uint32_t size;
} result;

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
static int is_utf8(const uint8_t *text, size_t size) {
  const uint8_t *end = text + size;
  while (text < end) {
    uint8_t first = *text++;
    if (first < 0x80) continue;
    int more = first < 0xC2 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : first < 0xF5 ? 3 : 0;
    if (!more || end - text < more) return 0;
    if ((first == 0xE0 && *text < 0xA0) || (first == 0xED && *text > 0x9F)) return 0;
    if ((first == 0xF0 && *text < 0x90) || (first == 0xF4 && *text > 0x8F)) return 0;
    for (; more; more--)
      if ((*text++ & 0xC0) != 0x80) return 0;
  }
  return 1;
}

/* Well-formed text, which is nearly all, is encoded and decoded here; the host replaces what is not. */
static int encode(JSContext *c, JSValueConst text, JSValue *bytes) {
  size_t size;
  const char *data = JS_ToCStringLen(c, &size, text);
  if (!data) {
    *bytes = JS_EXCEPTION;
    return 1;
  }
  int is_well_formed = is_utf8((const uint8_t *)data, size);
  if (is_well_formed) *bytes = JS_NewUint8ArrayCopy(c, (const uint8_t *)data, size);
  JS_FreeCString(c, data);
  return is_well_formed;
}

static int decode(JSContext *c, JSValueConst bytes, JSValue *text) {
  size_t size = 0;
  const uint8_t *data = JS_GetUint8Array(c, &size, bytes);
  if (!data && JS_HasException(c)) {
    *text = JS_EXCEPTION;
    return 1;
  }
  if (!is_utf8(data, size)) return 0;
  *text = JS_NewStringLen(c, (const char *)data, size);
  return 1;
}

static JSValue call_host(JSContext *c, JSValueConst self, int count, JSValueConst *arguments, int function) {
  JSValue value;
  (void)self, (void)count; /* QuickJS fills missing arguments up to the declared number with undefined */
  if (function == ENCODE && encode(c, arguments[0], &value)) return value;
  if (function == DECODE && decode(c, arguments[0], &value)) return value;
  return host_call((uint32_t)function, arguments);
}

static enum kind leave(enum kind kind, const void *address, size_t size) {
  result.address = address;
  result.size = (uint32_t)size;
  return kind;
}

/* Leaves the text of the pending exception, or no address if even that cannot be made. */
static enum kind threw(void) {
  size_t size = 0;
  const char *text = JS_ToCStringLen(context, &size, JS_GetException(context));
  return leave(THREW, text, size);
}

static enum kind returned(JSValue value) {
  size_t size = 0;
  if (JS_IsException(value)) return threw();
  if (JS_IsString(value)) {
    const char *text = JS_ToCStringLen(context, &size, value);
    return text ? leave(TEXT, text, size) : threw();
  }
  if (JS_GetTypedArrayType(value) == JS_TYPED_ARRAY_UINT8) {
    const uint8_t *data = JS_GetUint8Array(context, &size, value);
    return data || !JS_HasException(context) ? leave(BYTES, data, size) : threw();
  }
  return leave(JS_IsObject(value) ? FOREIGN : NOTHING, NULL, 0);
}

EXPORT(boot) enum kind boot(uint32_t stack_bytes) {
  runtime = JS_NewRuntime();
  if (!runtime) return THREW;
  JS_SetMaxStackSize(runtime, stack_bytes);
  context = JS_NewContext(runtime);
  return context ? NOTHING : THREW;
}

/* Leaves the bytecode of a script. */
EXPORT(compile) enum kind compile(const char *source, uint32_t size, const char *name) {
  size_t written = 0;
  JSValue script = JS_Eval(context, source, size, name, JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_COMPILE_ONLY);
  if (JS_IsException(script)) return threw();
  const uint8_t *code = JS_WriteObject(context, &written, script, JS_WRITE_OBJ_BYTECODE | JS_WRITE_OBJ_STRIP_SOURCE);
  return code ? leave(BYTES, code, written) : threw();
}

/*
 * Runs bytecode of `compile` (no other, for it is trusted) whose value is a function, and calls that with (host,
 * globalThis). An array that it returns is [prepare, start].
 */
EXPORT(install) enum kind install(const uint8_t *code, uint32_t size) {
  JSValue script = JS_ReadObject(context, code, size, JS_READ_OBJ_BYTECODE);
  if (JS_IsException(script)) return threw();
  JSValue setup = JS_EvalFunction(context, script);
  if (JS_IsException(setup)) return threw();
  JSValue host = JS_NewObject(context), world = JS_GetGlobalObject(context);
  for (int i = 0; i < (int)COUNT(HOST_FUNCTIONS); i++) {
    JSValue function = JS_NewCFunctionMagic(context, call_host, HOST_FUNCTIONS[i], 2, JS_CFUNC_generic_magic, i);
    JS_SetPropertyStr(context, host, HOST_FUNCTIONS[i], function);
  }
  JSValue arguments[] = {host, world};
  JSValue entries = JS_Call(context, setup, JS_UNDEFINED, COUNT(arguments), arguments);
  if (JS_IsException(entries)) return threw();
  if (JS_IsArray(entries)) {
    prepare_function = JS_GetPropertyUint32(context, entries, 0);
    start_function = JS_GetPropertyUint32(context, entries, 1);
  }
  JS_FreeValue(context, entries);
  JS_FreeValue(context, setup);
  JS_FreeValue(context, host);
  JS_FreeValue(context, world);
  return NOTHING;
}

EXPORT(settle) void settle(uint32_t collect_above_bytes) {
  JS_RunGC(runtime);
  JS_SetGCThreshold(runtime, collect_above_bytes);
}

EXPORT(context_address) void *context_address(void) { return context; }
EXPORT(runtime_address) void *runtime_address(void) { return runtime; }
EXPORT(scratch_address) void *scratch_address(void) { return scratch; }
EXPORT(result_address) void *result_address(void) { return &result; }
EXPORT(allocate) void *allocate(uint32_t size) { return malloc(size); }
EXPORT(release) void release(void *address) { free(address); }

EXPORT(evaluate) enum kind evaluate(const char *source, uint32_t size, uint32_t stack_bytes) {
  JS_SetMaxStackSize(runtime, stack_bytes);
  JSValue value = JS_Eval(context, source, size, "program.js", JS_EVAL_TYPE_GLOBAL);
  if (JS_IsException(value)) return threw();
  JS_FreeValue(context, value);
  return NOTHING;
}

EXPORT(find_main) enum kind find_main(void) {
  return returned(JS_Call(context, prepare_function, JS_UNDEFINED, 0, NULL));
}

/* The facts are at the start of `scratch`. */
EXPORT(run) enum kind run(uint32_t facts_size, const uint8_t *input, uint32_t input_size) {
  JSValue facts = JS_NewStringLen(context, (const char *)scratch, facts_size);
  JSValue data = JS_NewUint8ArrayCopy(context, input, input_size);
  if (JS_IsException(facts) || JS_IsException(data)) return threw();
  JSValue arguments[] = {facts, data};
  return returned(JS_Call(context, start_function, JS_UNDEFINED, COUNT(arguments), arguments));
}
