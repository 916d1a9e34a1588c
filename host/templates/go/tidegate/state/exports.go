//go:build wasip1

package state

import (
	"unsafe"

	"rule/tidegate"
	"rule/tidegate/abi"
)

//go:wasmexport tidegate:plugin/state@0.1.0#save
func exportSave(changedOnly uint32, cursor uint64) unsafe.Pointer {
	next, more, words, data := kept.save(changedOnly != 0, cursor)
	answer := abi.Area()
	if more {
		abi.U8(0, 1)
		abi.U64(8, next)
	}
	abi.List(16, unsafe.Pointer(unsafe.SliceData(words)), len(words))
	abi.List(24, unsafe.Pointer(unsafe.SliceData(data)), len(data))
	return answer
}

//go:wasmexport cabi_post_tidegate:plugin/state@0.1.0#save
func endSave(unsafe.Pointer) { abi.End() }

//go:wasmexport tidegate:plugin/state@0.1.0#restore
func exportRestore(version, hasNext uint32, next uint64, wordsAt unsafe.Pointer, count uint32, dataAt unsafe.Pointer, size uint32) unsafe.Pointer {
	err := tidegate.Protect(func() error { return kept.restore(version, abi.Words(wordsAt, count), abi.Bytes(dataAt, size)) })
	answer := abi.Area()
	if err != nil {
		abi.U8(0, 1)
		abi.Text(4, err.Error())
	}
	return answer
}

//go:wasmexport cabi_post_tidegate:plugin/state@0.1.0#restore
func endRestore(unsafe.Pointer) { abi.End() }
