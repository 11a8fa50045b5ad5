;; keccak256(input || when the request was made, 8 bytes little-endian).
(module
  (import "adyton" "input_size" (func $input_size (result i32)))
  (import "adyton" "input_read" (func $input_read (param i32 i32 i32) (result i32)))
  (import "adyton" "fact" (func $fact (param $number i32) (param $to i32) (result i32)))
  (import "adyton" "keccak256" (func $keccak256 (param $at i32) (param $size i32) (param $to i32)))
  (import "adyton" "output" (func $output (param i32 i32)))
  (memory (export "memory") 2)
  (func (export "run") (local $size i32)
    (local.set $size (call $input_read (i32.const 64) (i32.const 0) (call $input_size)))
    (local.set $size (i32.add (local.get $size) (call $fact (i32.const 8) (i32.add (i32.const 64) (local.get $size)))))
    (call $keccak256 (i32.const 64) (local.get $size) (i32.const 0))
    (call $output (i32.const 0) (i32.const 32))))
