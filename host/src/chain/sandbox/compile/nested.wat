;; Two components of which one calls the other with a string: the engine puts a module of two memories between them. Beside it as `nested.wasm`.
(component
  (component $taker
    (core module $m
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 16)
      (func (export "take") (param i32 i32)))
    (core instance $i (instantiate $m))
    (func (export "take") (param "s" string)
      (canon lift (core func $i "take") (memory $i "memory") (realloc (func $i "realloc")))))
  (component $giver
    (import "take" (func $take (param "s" string)))
    (core module $libc (memory (export "memory") 1))
    (core instance $libc (instantiate $libc))
    (core func $take' (canon lower (func $take) (memory $libc "memory")))
    (core module $m
      (import "" "take" (func $take (param i32 i32)))
      (func (export "run") i32.const 0 i32.const 4 call $take))
    (core instance $i (instantiate $m (with "" (instance (export "take" (func $take'))))))
    (func (export "run") (canon lift (core func $i "run"))))
  (instance $a (instantiate $taker))
  (instance $b (instantiate $giver (with "take" (func $a "take"))))
  (export "run" (func $b "run")))
