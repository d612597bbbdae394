;; Says what it is told: its answer is its message's Data, hexadecimal digits as bytes, with a NUL behind.
;; Memory: from 4096 malloc's, from 2 MiB the answer.
(module
  (memory (export "memory") 64)
  (global $free (mut i32) (i32.const 4096))
  (func (export "malloc") (param $size i32) (result i32)
    (global.get $free)
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get $size)) (i32.const 7)) (i32.const -8))))
  (func $digit (param $at i32) (result i32) (local $character i32)
    (local.set $character (i32.load8_u (local.get $at)))
    (i32.sub (local.get $character)
      (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $character) (i32.const 58)))))
  (func (export "handle") (param $at i32) (param $env i32) (result i32) (local $to i32)
    (global.set $free (i32.const 4096))
    (local.set $to (i32.const 0x200000))
    (loop $find  ;; "Data":"
      (if (i64.ne (i64.load (local.get $at)) (i64.const 0x223a226174614422))
        (then (local.set $at (i32.add (local.get $at) (i32.const 1))) (br $find))))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (loop $next
      (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 34))
        (then
          (i32.store8 (local.get $to) (i32.or
            (i32.shl (call $digit (local.get $at)) (i32.const 4))
            (call $digit (i32.add (local.get $at) (i32.const 1)))))
          (local.set $to (i32.add (local.get $to) (i32.const 1)))
          (local.set $at (i32.add (local.get $at) (i32.const 2)))
          (br $next))))
    (i32.store8 (local.get $to) (i32.const 0))
    (i32.const 0x200000)))
