;; Input to output, through the guest API.
(module
  (import "adyton" "input_size" (func $input_size (result i32)))
  (import "adyton" "input_read" (func $input_read (param $to i32) (param $offset i32) (param $size i32) (result i32)))
  (import "adyton" "output" (func $output (param $at i32) (param $size i32)))
  (memory (export "memory") 1)
  (func (export "run")
    (call $output (i32.const 0) (call $input_read (i32.const 0) (i32.const 0) (call $input_size)))))
