//! What a Zig program needs in an Adyton enclave. One file, part of your project; change it as you like.
//!
//! - The entry: `export fn run() void` is called once per request.
//! - The host: `input`, `output`, `log`, facts of the request, `blob`, `keccak256`. `fail` ends the job as Trapped.
//! - The Solidity ABI by Zig types: `decode(T, bytes)`, `encode(value)`. `T` is a struct or tuple with a field for each
//!   value. Decoding is strict: what Solidity would not decode ends the job as Trapped.
//! - Memory comes from `allocate` and is never freed: all of it is gone when the job ends.
//!
//!     Solidity     Zig                              Solidity     Zig
//!     uintN, intN  u8 … u256, i8 … i256             T[]          []const T
//!     bool         bool                             T[k]         [k]T
//!     address      Address                          (T,U)        struct { a: T, b: U }, struct { T, U }
//!     bytesN       Fixed(N)                         bytes        Bytes
//!                                                   string       String

const host = struct {
    extern "adyton" fn input_size() u32;
    extern "adyton" fn input_read(to: [*]u8, offset: u32, size: u32) u32;
    extern "adyton" fn output(at: [*]const u8, size: usize) void;
    extern "adyton" fn log(at: [*]const u8, size: usize) void;
    extern "adyton" fn fact(number: u32, to: [*]u8) i32;
    extern "adyton" fn blob_size(hash: *const [32]u8) u64;
    extern "adyton" fn blob_read(hash: *const [32]u8, to: [*]u8, offset: u32, size: u32) u32;
    extern "adyton" fn keccak256(at: [*]const u8, size: usize, to: *[32]u8) void;
    extern "adyton" fn fetch(head: [*]const u8, head_size: usize, body: [*]const u8, body_size: usize) u32;
    extern "adyton" fn fetch_size(part: u32) u32;
    extern "adyton" fn fetch_read(part: u32, to: [*]u8, offset: u32, size: u32) u32;
    extern "adyton" fn fail(at: [*]const u8, size: usize) noreturn;
};

pub const Address = struct { bytes: [20]u8 };
pub const Bytes = struct { data: []const u8 };
pub const String = struct { text: []const u8 };
pub fn Fixed(comptime size: usize) type {
    return struct {
        bytes: [size]u8,
        pub const abi_fixed_size = size;
    };
}

// -- the host ---------------------------------------------------------------------------------------------------------

pub fn input() []const u8 {
    const data = allocate(u8, host.input_size());
    _ = host.input_read(data.ptr, 0, data.len);
    return data;
}

/// Appends to the output.
pub fn output(data: []const u8) void {
    host.output(data.ptr, data.len);
}

pub fn log(text: []const u8) void {
    host.log(text.ptr, text.len);
}

pub fn fail(reason: []const u8) noreturn {
    host.fail(reason.ptr, reason.len);
}

pub fn keccak256(data: []const u8) [32]u8 {
    var hash: [32]u8 = undefined;
    host.keccak256(data.ptr, data.len, &hash);
    return hash;
}

/// The bytes behind a keccak256 hash; needs the capability "blob".
pub fn blob(hash: [32]u8) []const u8 {
    const data = allocate(u8, @intCast(host.blob_size(&hash)));
    _ = host.blob_read(&hash, data.ptr, 0, data.len);
    return data;
}

/// What a server answered. `status` is 0 if there was no answer, and then `body` says why.
pub const Answer = struct { status: u32, body: []const u8 };

/// HTTPS; needs the capability "fetch". `head` is "GET https://host/path follow", then a line "name: value" per header.
pub fn fetch(head: []const u8, body: []const u8) Answer {
    const status = host.fetch(head.ptr, head.len, body.ptr, body.len);
    const data = allocate(u8, host.fetch_size(0));
    _ = host.fetch_read(0, data.ptr, 0, data.len);
    return .{ .status = status, .body = data };
}

/// Facts of the request by number, as in docs/PROGRAMS.md.
pub const Fact = enum(u32) { request_id, chain_id, coprocessor, consumer, program_id, pool_id, input_hash, nonce, created_at, deadline, callback_gas, max_fee_gwei };

/// A fact that is a number: nonce, created_at and deadline (unix seconds), callback_gas, max_fee_gwei.
pub fn number(which: Fact) u64 {
    var bytes: [8]u8 = undefined;
    if (@intFromEnum(which) < @intFromEnum(Fact.nonce)) fail("this fact is not a number");
    _ = host.fact(@intFromEnum(which), &bytes);
    return @bitCast(bytes);
}

/// A fact of 32 bytes: the ids, the input hash, the chain id (big-endian).
pub fn id(which: Fact) [32]u8 {
    var bytes: [32]u8 = undefined;
    if (host.fact(@intFromEnum(which), &bytes) != 32) fail("this fact does not have 32 bytes");
    return bytes;
}

/// Who asked.
pub fn consumer() Address {
    var address: Address = undefined;
    _ = host.fact(@intFromEnum(Fact.consumer), &address.bytes);
    return address;
}

var free_from: usize = 0;
var free_to: usize = 0;

/// Memory for `count` items, not initialised.
pub fn allocate(comptime T: type, count: usize) []T {
    if (count == 0) return &.{};
    const size = @mulWithOverflow(count, @sizeOf(T));
    if (size[1] != 0) fail("out of memory");
    const at = (free_from + 15) & ~@as(usize, 15);
    if (free_to == 0 or size[0] > free_to -| at) {
        const pages = size[0] / 65536 + 1;
        const grown = @wasmMemoryGrow(0, pages);
        if (grown < 0) fail("out of memory");
        const start = @as(usize, @intCast(grown)) * 65536;
        if (start != free_to) free_from = start;
        free_to = start + pages * 65536;
        return allocate(T, count);
    }
    free_from = at + size[0];
    return @as([*]T, @ptrFromInt(at))[0..count];
}

// -- the ABI ----------------------------------------------------------------------------------------------------------

fn isDynamic(comptime T: type) bool {
    if (T == Bytes or T == String) return true;
    switch (@typeInfo(T)) {
        .pointer => return true,
        .array => |array| return isDynamic(array.child),
        .@"struct" => |of| {
            if (isWord(T)) return false;
            for (of.field_types) |Field| if (isDynamic(Field)) return true;
            return false;
        },
        else => return false,
    }
}

fn isWord(comptime T: type) bool {
    return T == Address or (@typeInfo(T) == .@"struct" and @hasDecl(T, "abi_fixed_size"));
}

/// How many bytes a value takes where it stands; 32 if that is an offset.
fn headSize(comptime T: type) usize {
    if (isDynamic(T)) return 32;
    switch (@typeInfo(T)) {
        .array => |array| return array.len * headSize(array.child),
        .@"struct" => |of| {
            if (isWord(T)) return 32;
            return headsSize(of.field_types);
        },
        else => return 32,
    }
}

fn headsSize(comptime types: []const type) usize {
    var size: usize = 0;
    for (types) |T| size += headSize(T);
    return size;
}

/// The values in `data`, which was encoded as `abi.encode(a, b, …)` for the fields a, b, … of `T`.
pub fn decode(comptime T: type, data: []const u8) T {
    return read(T, data, 0);
}

fn wordAt(data: []const u8, at: usize) *const [32]u8 {
    if (at > data.len or data.len - at < 32) fail("abi: the data ends too early");
    return data[at..][0..32];
}

fn numberAt(data: []const u8, at: usize) u256 {
    return @byteSwap(@as(u256, @bitCast(wordAt(data, at).*)));
}

fn lengthAt(data: []const u8, at: usize) usize {
    const value = numberAt(data, at);
    if (value > data.len) fail("abi: an offset or length is outside the data");
    return @intCast(value);
}

fn requireZero(bytes: []const u8) void {
    for (bytes) |byte| if (byte != 0) fail("abi: padding is not zero");
}

/// The value whose head is at `at`; offsets count from the start of `data`.
fn member(comptime T: type, data: []const u8, at: usize) T {
    return if (comptime isDynamic(T)) read(T, data[lengthAt(data, at)..], 0) else read(T, data, at);
}

fn read(comptime T: type, data: []const u8, at: usize) T {
    if (T == Bytes) return .{ .data = readBytes(data) };
    if (T == String) return .{ .text = readBytes(data) };
    switch (@typeInfo(T)) {
        .bool => {
            const value = numberAt(data, at);
            if (value > 1) fail("abi: a bool is neither 0 nor 1");
            return value == 1;
        },
        .int => |int| {
            const Wide = if (int.signedness == .signed) i256 else u256;
            const value: Wide = @bitCast(numberAt(data, at));
            if (value != @as(T, @truncate(value))) fail("abi: a value does not fit its type");
            return @truncate(value);
        },
        .pointer => |slice| {
            const count = lengthAt(data, at);
            const items = data[at + 32 ..];
            if (count > items.len / 32) fail("abi: an array is longer than the data");
            const values = allocate(slice.child, count);
            for (values, 0..) |*value, i| value.* = member(slice.child, items, i * comptime headSize(slice.child));
            return values;
        },
        .array => |array| {
            var values: T = undefined;
            for (&values, 0..) |*value, i| value.* = member(array.child, data, at + i * comptime headSize(array.child));
            return values;
        },
        .@"struct" => |of| {
            var value: T = undefined;
            if (comptime isWord(T)) {
                const word = wordAt(data, at);
                const size = value.bytes.len;
                const from = if (T == Address) 32 - size else 0;
                requireZero(word[0..from]);
                requireZero(word[from + size ..]);
                value.bytes = word[from..][0..size].*;
                return value;
            }
            comptime var place: usize = 0;
            inline for (of.field_names, of.field_types) |name, Field| {
                @field(value, name) = member(Field, data, at + place);
                place += comptime headSize(Field);
            }
            return value;
        },
        else => @compileError("no ABI type for " ++ @typeName(T)),
    }
}

fn readBytes(data: []const u8) []const u8 {
    const size = lengthAt(data, 0);
    const padded = (size + 31) / 32 * 32;
    if (padded > data.len - 32) fail("abi: the data ends too early");
    requireZero(data[32 + size .. 32 + padded]);
    return data[32..][0..size];
}

/// As `abi.encode(a, b, …)` for the fields a, b, … of `value`, which is a struct or tuple: `encode(.{@as(u256, 1)})`.
pub fn encode(value: anytype) []const u8 {
    const data = allocate(u8, sizeOf(@TypeOf(value), value));
    @memset(data, 0);
    _ = write(@TypeOf(value), value, data, 0);
    return data;
}

/// How many bytes `value` takes by itself, with the tails of what is in it.
fn sizeOf(comptime T: type, value: T) usize {
    if (T == Bytes) return 32 + (value.data.len + 31) / 32 * 32;
    if (T == String) return 32 + (value.text.len + 31) / 32 * 32;
    var size: usize = 0;
    switch (@typeInfo(T)) {
        .pointer => |slice| {
            size = 32;
            for (value) |item| size += memberSize(slice.child, item);
        },
        .array => |array| for (value) |item| {
            size += memberSize(array.child, item);
        },
        .@"struct" => |of| {
            if (comptime isWord(T)) return 32;
            inline for (of.field_names, of.field_types) |name, Field| size += memberSize(Field, @field(value, name));
        },
        else => return 32,
    }
    return size;
}

fn memberSize(comptime T: type, value: T) usize {
    return sizeOf(T, value) + if (comptime isDynamic(T)) 32 else 0;
}

fn put(data: []u8, at: usize, value: u256) void {
    data[at..][0..32].* = @bitCast(@byteSwap(value));
}

/// Writes the member whose head is at `at`; its tail, if it has one, goes to `tail`. Returns where the next tail goes.
fn writeMember(comptime T: type, value: T, data: []u8, at: usize, tail: usize) usize {
    if (comptime !isDynamic(T)) {
        _ = write(T, value, data, at);
        return tail;
    }
    put(data, at, tail);
    return tail + write(T, value, data[tail..], 0);
}

/// Writes `value` itself at `at` and returns how many bytes it took.
fn write(comptime T: type, value: T, data: []u8, at: usize) usize {
    if (T == Bytes) return writeBytes(value.data, data);
    if (T == String) return writeBytes(value.text, data);
    switch (@typeInfo(T)) {
        .bool => put(data, at, @intFromBool(value)),
        .int => |int| put(data, at, @bitCast(@as(if (int.signedness == .signed) i256 else u256, value))),
        .pointer => |slice| {
            put(data, 0, value.len);
            const head = comptime headSize(slice.child);
            var tail = value.len * head;
            for (value, 0..) |item, i| tail = writeMember(slice.child, item, data[32..], i * head, tail);
            return 32 + tail;
        },
        .array => |array| {
            const head = comptime headSize(array.child);
            var tail = value.len * head;
            for (value, 0..) |item, i| tail = writeMember(array.child, item, data, at + i * head, tail);
            return tail;
        },
        .@"struct" => |of| {
            if (comptime isWord(T)) {
                const from = if (T == Address) 12 else 0;
                data[at + from ..][0..value.bytes.len].* = value.bytes;
                return 32;
            }
            comptime var place: usize = 0;
            var tail: usize = comptime headsSize(of.field_types);
            inline for (of.field_names, of.field_types) |name, Field| {
                tail = writeMember(Field, @field(value, name), data, at + place, tail);
                place += comptime headSize(Field);
            }
            return tail;
        },
        else => @compileError("no ABI type for " ++ @typeName(T)),
    }
    return 32;
}

fn writeBytes(value: []const u8, data: []u8) usize {
    put(data, 0, value.len);
    @memcpy(data[32..][0..value.len], value);
    return 32 + (value.len + 31) / 32 * 32;
}
