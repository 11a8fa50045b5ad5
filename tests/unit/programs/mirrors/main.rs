//! Decodes one value of every kind and encodes it again.
mod adyton;

use adyton::{Address, Bytes, Fixed, Word};

type Everything = (
    Word,
    Word,
    i32, // int24 fits; Rust has no type that refuses more
    bool,
    Address,
    Fixed<4>,
    Bytes,
    String,
    Vec<u64>,
    Vec<String>,
    [(u8, Bytes); 2],
    (u64, bool),
    [u16; 2],
);

#[no_mangle]
pub extern "C" fn run() {
    adyton::report_panics();
    let everything: Everything = adyton::decode(&adyton::input());
    adyton::output(&adyton::encode(&everything));
}
