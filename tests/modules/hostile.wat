;; A process module of the plain ABI (Module-Format `wasm32-wasi`) that misbehaves as its message tells it to.
;; Every message first adds one to a count in memory and one in a global; a message with none of the words below is
;; answered with both, three digits each. So the count after a fault shows whether the state went back.
(module
  (memory (export "memory") 2)
  (global $count (mut i32) (i32.const 0))
  (global $free (mut i32) (i32.const 8192))

  (data (i32.const 1024) "{\"ok\":true,\"response\":{\"Output\":\"000 000\",\"Messages\":[],\"Spawns\":[],\"Assignments\":[]}}\00")
  (data (i32.const 1200) "!trap\00")
  (data (i32.const 1210) "!loop\00")
  (data (i32.const 1220) "!recurse\00")
  (data (i32.const 1230) "!grow\00")
  (data (i32.const 1240) "!garbage\00")
  (data (i32.const 1250) "!far\00")
  (data (i32.const 1260) "!endless\00")
  (data (i32.const 1270) "!divide\00")
  (data (i32.const 1280) "!deep\00")
  (data (i32.const 1290) "!list\00")
  (data (i32.const 1400) "{\"ok\":true,\"respon\00")
  (data (i32.const 1440) "[1,2,3]\00")

  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -8)))
    (loop $more
      (if (i32.gt_u (global.get $free) (i32.shl (memory.size) (i32.const 16)))
        (then
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
          (br $more))))
    (local.get $at))

  ;; Whether the word (ending in NUL) is anywhere in the text (ending in NUL).
  (func $has (param $text i32) (param $word i32) (result i32)
    (local $n i32)
    (loop $place
      (local.set $n (i32.const 0))
      (loop $letter
        (if (i32.eqz (i32.load8_u (i32.add (local.get $word) (local.get $n)))) (then (return (i32.const 1))))
        (if (i32.eq (i32.load8_u (i32.add (local.get $text) (local.get $n)))
                    (i32.load8_u (i32.add (local.get $word) (local.get $n))))
          (then
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br $letter))))
      (local.set $text (i32.add (local.get $text) (i32.const 1)))
      (br_if $place (i32.load8_u (local.get $text))))
    (i32.const 0))

  (func $recurse (param $n i32) (result i32)
    (i32.add (i32.const 1) (call $recurse (i32.add (local.get $n) (i32.const 1)))))

  (func $digits (param $at i32) (param $n i32)
    (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $n) (i32.const 100)) (i32.const 10))))
    (i32.store8 offset=1 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $n) (i32.const 10)) (i32.const 10))))
    (i32.store8 offset=2 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10)))))

  (func (export "handle") (param $message i32) (param $env i32) (result i32)
    (local $at i32)
    (global.set $free (i32.const 8192))
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store (i32.const 2048) (i32.add (i32.load (i32.const 2048)) (i32.const 1)))

    (if (call $has (local.get $message) (i32.const 1200)) (then unreachable))
    (if (call $has (local.get $message) (i32.const 1210)) (then (loop $for_ever (br $for_ever))))
    (if (call $has (local.get $message) (i32.const 1220)) (then (return (call $recurse (i32.const 0)))))
    (if (call $has (local.get $message) (i32.const 1230))
      (then (loop $more
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $more))))
    (if (call $has (local.get $message) (i32.const 1240)) (then (return (i32.const 1400))))
    (if (call $has (local.get $message) (i32.const 1250)) (then (return (i32.const -16))))
    (if (call $has (local.get $message) (i32.const 1260))
      (then ;; an answer without an end: no NUL up to the end of memory
        (memory.fill (i32.const 65536) (i32.const 32) (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 65536)))
        (return (i32.const 65536))))
    (if (call $has (local.get $message) (i32.const 1270))
      (then (return (i32.div_u (i32.const 1) (i32.load (i32.const 4))))))
    (if (call $has (local.get $message) (i32.const 1280))
      (then ;; an answer of brackets, deeper than a JSON parser may follow
        (memory.fill (i32.const 65536) (i32.const 91) (i32.const 60000))
        (i32.store8 (i32.const 125536) (i32.const 0))
        (return (i32.const 65536))))
    (if (call $has (local.get $message) (i32.const 1290)) (then (return (i32.const 1440))))

    (call $digits (i32.const 1057) (i32.load (i32.const 2048)))
    (call $digits (i32.const 1061) (global.get $count))
    (i32.const 1024)))
