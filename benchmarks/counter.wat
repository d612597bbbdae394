;; The smallest process module of the plain ABI (Module-Format `wasm32-wasi`): it counts the messages that it gets.
;; `malloc` hands out one buffer after another, and begins anew with each message, since nothing is kept but the count.
(module
  (memory (export "memory") 2)
  (global $count (mut i32) (i32.const 0))
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 1024) "{\"ok\":true,\"response\":{\"Output\":{\"data\":\"")
  (data (i32.const 1088) "\"},\"Messages\":[],\"Spawns\":[],\"Assignments\":[]}}\00")

  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32) (local $short i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (i32.and (i32.add (local.get $size) (i32.const 16)) (i32.const -8))))
    (local.set $short (i32.sub (global.get $free) (i32.shl (memory.size) (i32.const 16))))
    (if (i32.gt_s (local.get $short) (i32.const 0))
      (then (if (i32.eq (i32.const -1)
                        (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $short) (i32.const 16)))))
              (then unreachable))))
    (local.get $at))

  ;; The answer is written from its end: the count's digits go before the tail, and the head before them.
  (func (export "handle") (param $message i32) (param $env i32) (result i32)
    (local $at i32) (local $n i32)
    (global.set $free (i32.const 4096))
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (local.set $at (i32.const 2048))
    (memory.copy (local.get $at) (i32.const 1088) (i32.const 48))
    (local.set $n (global.get $count))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (br_if $digit (local.tee $n (i32.div_u (local.get $n) (i32.const 10)))))
    (local.set $at (i32.sub (local.get $at) (i32.const 41)))
    (memory.copy (local.get $at) (i32.const 1024) (i32.const 41))
    (local.get $at)))
