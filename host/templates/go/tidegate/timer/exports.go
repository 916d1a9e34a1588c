//go:build wasip1

package timer

import (
	"unsafe"

	"rule/tidegate"
	"rule/tidegate/abi"
)

//go:wasmexport tidegate:plugin/timer@0.1.0#tick
func exportTick(nowUs uint64) unsafe.Pointer {
	out := tidegate.Begin(nowUs, tidegate.NoInput)
	if err := tidegate.Protect(func() error { return run(out) }); err != nil {
		tidegate.Host.Error("tick: " + err.Error())
	}
	return tidegate.Done()
}

//go:wasmexport cabi_post_tidegate:plugin/timer@0.1.0#tick
func endTick(unsafe.Pointer) { abi.End() }
