//! What a Rust program needs in an Adyton enclave. One file, part of your project; change it as you like.
//!
//! - The entry: `#[no_mangle] pub extern "C" fn run()` is called once per request.
//! - The host: `input`, `output`, `log`, facts of the request, `blob`, `keccak256`. `fail` ends the job as Trapped.
//! - The Solidity ABI by Rust types: `decode::<(A, B)>(&bytes)`, `encode(&(a, b))`. Decoding is strict: what Solidity
//!   would not decode ends the job as Trapped.
//!
//!     Solidity         Rust                          Solidity   Rust
//!     uint8 … uint128  u8, u16, u32, u64, u128       T[]        Vec<T>; bytes is Bytes
//!     int8 … int128    i8, i16, i32, i64, i128       T[k]       [T; k]
//!     uint256, int256  Word (or what it fits into)   (T,U)      (T, U)
//!     bool, string     bool, String                  bytesN     Fixed<N>
//!                                                    address    Address
#![allow(dead_code)]

mod host {
    #[link(wasm_import_module = "adyton")]
    extern "C" {
        pub fn input_size() -> u32;
        pub fn input_read(to: *mut u8, offset: u32, size: u32) -> u32;
        pub fn output(at: *const u8, size: usize);
        pub fn log(at: *const u8, size: usize);
        pub fn fact(number: u32, to: *mut u8) -> i32;
        pub fn blob_size(hash: *const u8) -> u64;
        pub fn blob_read(hash: *const u8, to: *mut u8, offset: u32, size: u32) -> u32;
        pub fn keccak256(at: *const u8, size: usize, to: *mut u8);
        pub fn fail(at: *const u8, size: usize) -> !;
    }
}

// -- the host ---------------------------------------------------------------------------------------------------------

pub fn input() -> Vec<u8> {
    let mut data = vec![0; unsafe { host::input_size() } as usize];
    unsafe { host::input_read(data.as_mut_ptr(), 0, data.len() as u32) };
    data
}

/// Appends to the output.
pub fn output(data: &[u8]) {
    unsafe { host::output(data.as_ptr(), data.len()) }
}

pub fn log(text: &str) {
    unsafe { host::log(text.as_ptr(), text.len()) }
}

pub fn fail(reason: &str) -> ! {
    unsafe { host::fail(reason.as_ptr(), reason.len()) }
}

/// Lets a panic end the job with its message as the reason. Call it first in `run`.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| fail(&info.to_string())));
}

pub fn keccak256(data: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    unsafe { host::keccak256(data.as_ptr(), data.len(), hash.as_mut_ptr()) };
    hash
}

/// The bytes behind a keccak256 hash; needs the capability "blob".
pub fn blob(hash: &[u8; 32]) -> Vec<u8> {
    let mut data = vec![0; unsafe { host::blob_size(hash.as_ptr()) } as usize];
    unsafe { host::blob_read(hash.as_ptr(), data.as_mut_ptr(), 0, data.len() as u32) };
    data
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub enum Fact { RequestId, ChainId, Coprocessor, Consumer, ProgramId, PoolId, InputHash, Nonce, CreatedAt, Deadline, CallbackGas, MaxFeeGwei }

/// A fact of the request: 32 bytes, 20 for the two addresses, 8 little-endian from Nonce on.
pub fn fact(which: Fact) -> Vec<u8> {
    let mut data = vec![0; 32];
    let size = unsafe { host::fact(which as u32, data.as_mut_ptr()) };
    data.truncate(size as usize);
    data
}

/// A fact that is a number: Nonce, CreatedAt and Deadline (unix seconds), CallbackGas, MaxFeeGwei.
pub fn fact_number(which: Fact) -> u64 {
    match fact(which).try_into() {
        Ok(bytes) => u64::from_le_bytes(bytes),
        Err(_) => fail("this fact is not a number"),
    }
}

// -- the ABI ----------------------------------------------------------------------------------------------------------

/// 256 bits as they stand in the data, big-endian: uint256, int256, or any other word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(pub [u8; 32]);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub [u8; 20]);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fixed<const N: usize>(pub [u8; N]);
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// A type of the ABI. `read` gets the data from which its offsets count, and where the value stands in it.
pub trait Abi: Sized {
    const IS_DYNAMIC: bool = false;
    const HEAD: usize = 32;
    fn read(data: &[u8], at: usize) -> Self;
    fn write(&self, to: &mut Vec<u8>);
}

/// The values in `data`, which was encoded as `abi.encode(a, b, …)`: `let (a, b): (u64, String) = decode(&data)`.
pub fn decode<T: Abi>(data: &[u8]) -> T {
    T::read(data, 0)
}

/// As `abi.encode(a, b, …)` for a tuple: `encode(&(a, b))`, and `encode(&(a,))` for one value.
pub fn encode<T: Abi>(values: &T) -> Vec<u8> {
    let mut data = Vec::new();
    values.write(&mut data);
    data
}

fn word_at(data: &[u8], at: usize) -> [u8; 32] {
    match data.get(at..at.saturating_add(32)) {
        Some(word) => word.try_into().unwrap(),
        None => fail("abi: the data ends too early"),
    }
}

fn length_at(data: &[u8], at: usize) -> usize {
    let word = word_at(data, at);
    let value = u64::from_be_bytes(word[24..].try_into().unwrap());
    if word[..24].iter().any(|byte| *byte != 0) || value > data.len() as u64 {
        fail("abi: an offset or length is outside the data");
    }
    value as usize
}

fn require_zero(bytes: &[u8]) {
    if bytes.iter().any(|byte| *byte != 0) {
        fail("abi: padding is not zero");
    }
}

fn member<T: Abi>(data: &[u8], at: usize) -> T {
    if T::IS_DYNAMIC { T::read(&data[length_at(data, at)..], 0) } else { T::read(data, at) }
}

/// Writes a member: itself or its offset to `to`, what the offset names to `tails`, which will stand after `heads` bytes.
fn write_member<T: Abi>(value: &T, to: &mut Vec<u8>, tails: &mut Vec<u8>, heads: usize) {
    if T::IS_DYNAMIC {
        ((heads + tails.len()) as u64).write(to);
        value.write(tails);
    } else {
        value.write(to);
    }
}

macro_rules! integers {
    ($($unsigned:ident $signed:ident),*) => {$(
        impl Abi for $unsigned {
            fn read(data: &[u8], at: usize) -> Self {
                let word = word_at(data, at);
                let from = 32 - std::mem::size_of::<Self>();
                if word[..from].iter().any(|byte| *byte != 0) { fail("abi: a value does not fit its type"); }
                Self::from_be_bytes(word[from..].try_into().unwrap())
            }
            fn write(&self, to: &mut Vec<u8>) {
                to.resize(to.len() + 32 - std::mem::size_of::<Self>(), 0);
                to.extend_from_slice(&self.to_be_bytes());
            }
        }
        impl Abi for $signed {
            fn read(data: &[u8], at: usize) -> Self {
                let word = word_at(data, at);
                let from = 32 - std::mem::size_of::<Self>();
                let sign = if word[from] & 0x80 != 0 { 0xff } else { 0 };
                if word[..from].iter().any(|byte| *byte != sign) { fail("abi: a value does not fit its type"); }
                Self::from_be_bytes(word[from..].try_into().unwrap())
            }
            fn write(&self, to: &mut Vec<u8>) {
                let sign = if *self < 0 { 0xff } else { 0 };
                to.resize(to.len() + 32 - std::mem::size_of::<Self>(), sign);
                to.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
integers!(u8 i8, u16 i16, u32 i32, u64 i64, u128 i128);

impl Abi for Word {
    fn read(data: &[u8], at: usize) -> Self { Word(word_at(data, at)) }
    fn write(&self, to: &mut Vec<u8>) { to.extend_from_slice(&self.0) }
}

impl Abi for bool {
    fn read(data: &[u8], at: usize) -> Self {
        let word = word_at(data, at);
        if word[..31].iter().any(|byte| *byte != 0) || word[31] > 1 { fail("abi: a bool is neither 0 nor 1"); }
        word[31] == 1
    }
    fn write(&self, to: &mut Vec<u8>) { (*self as u8).write(to) }
}

impl Abi for Address {
    fn read(data: &[u8], at: usize) -> Self {
        let word = word_at(data, at);
        require_zero(&word[..12]);
        Address(word[12..].try_into().unwrap())
    }
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&[0; 12]);
        to.extend_from_slice(&self.0);
    }
}

impl<const N: usize> Abi for Fixed<N> {
    fn read(data: &[u8], at: usize) -> Self {
        let word = word_at(data, at);
        require_zero(&word[N..]);
        Fixed(word[..N].try_into().unwrap())
    }
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0);
        to.resize(to.len() + 32 - N, 0);
    }
}

impl Abi for Bytes {
    const IS_DYNAMIC: bool = true;
    fn read(data: &[u8], at: usize) -> Self {
        let (size, from) = (length_at(data, at), at + 32);
        let padded = (size + 31) / 32 * 32;
        if padded > data.len() - from { fail("abi: the data ends too early"); }
        require_zero(&data[from + size..from + padded]);
        Bytes(data[from..from + size].to_vec())
    }
    fn write(&self, to: &mut Vec<u8>) {
        (self.0.len() as u64).write(to);
        to.extend_from_slice(&self.0);
        to.resize(to.len() + (32 - self.0.len() % 32) % 32, 0);
    }
}

impl Abi for String {
    const IS_DYNAMIC: bool = true;
    fn read(data: &[u8], at: usize) -> Self {
        String::from_utf8(Bytes::read(data, at).0).unwrap_or_else(|_| fail("abi: a string is not UTF-8"))
    }
    fn write(&self, to: &mut Vec<u8>) { Bytes(self.as_bytes().to_vec()).write(to) }
}

impl<T: Abi> Abi for Vec<T> {
    const IS_DYNAMIC: bool = true;
    fn read(data: &[u8], at: usize) -> Self {
        let (count, items) = (length_at(data, at), &data[at + 32..]);
        if count > items.len() / 32 { fail("abi: an array is longer than the data"); }
        (0..count).map(|i| member(items, i * T::HEAD)).collect()
    }
    fn write(&self, to: &mut Vec<u8>) {
        (self.len() as u64).write(to);
        let mut tails = Vec::new();
        for item in self { write_member(item, to, &mut tails, self.len() * T::HEAD); }
        to.append(&mut tails);
    }
}

impl<T: Abi, const N: usize> Abi for [T; N] {
    const IS_DYNAMIC: bool = T::IS_DYNAMIC;
    const HEAD: usize = if T::IS_DYNAMIC { 32 } else { N * T::HEAD };
    fn read(data: &[u8], at: usize) -> Self {
        let mut i = 0;
        [(); N].map(|()| { i += 1; member(data, at + (i - 1) * T::HEAD) })
    }
    fn write(&self, to: &mut Vec<u8>) {
        let mut tails = Vec::new();
        for item in self { write_member(item, to, &mut tails, N * T::HEAD); }
        to.append(&mut tails);
    }
}

macro_rules! tuples {
    ($(($($name:ident $place:tt),+))*) => {$(
        impl<$($name: Abi),+> Abi for ($($name,)+) {
            const IS_DYNAMIC: bool = $($name::IS_DYNAMIC)||+;
            const HEAD: usize = if $($name::IS_DYNAMIC)||+ { 32 } else { 0 $(+ $name::HEAD)+ };
            #[allow(unused_assignments)]
            fn read(data: &[u8], mut at: usize) -> Self {
                ($({ let value = member::<$name>(data, at); at += $name::HEAD; value },)+)
            }
            fn write(&self, to: &mut Vec<u8>) {
                let (mut tails, heads) = (Vec::new(), 0 $(+ $name::HEAD)+);
                $(write_member(&self.$place, to, &mut tails, heads);)+
                to.append(&mut tails);
            }
        }
    )*};
}
tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12)
}
