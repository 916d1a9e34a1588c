//go:build wasip1

// Package abi is the canonical ABI as Go needs it: memory for what the host hands over, and the place where answers lie.
package abi

import (
	"encoding/binary"
	"runtime"
	"unsafe"
)

var (
	// What the host looks at until the call ends.
	keep []any
	pin  runtime.Pinner
	area [64]uint8
)

// Area is where an answer lies: zeroes, until it is written.
func Area() unsafe.Pointer {
	clear(area[:])
	return unsafe.Pointer(&area)
}

// U8, U32 and U64 write a number of the answer.
func U8(at int, value uint8)   { area[at] = value }
func U32(at int, value uint32) { binary.LittleEndian.PutUint32(area[at:], value) }
func U64(at int, value uint64) { binary.LittleEndian.PutUint64(area[at:], value) }

// List writes where a list of the answer lies, and keeps it there.
func List(at int, data unsafe.Pointer, length int) {
	if length > 0 {
		pin.Pin(data)
	}
	U32(at, uint32(uintptr(data)))
	U32(at+4, uint32(length))
}

// Text writes where a text of the answer lies.
func Text(at int, text string) { List(at, unsafe.Pointer(unsafe.StringData(text)), len(text)) }

// Texts writes a list of texts.
func Texts(at int, texts []string) {
	spans := make([]uint32, 0, 2*len(texts)+2)
	for _, text := range texts {
		spans = append(spans, uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text)))
	}
	List(at, unsafe.Pointer(unsafe.SliceData(spans)), len(texts))
}

// Words and Bytes are lists that the host has handed over.
func Words(at unsafe.Pointer, length uint32) []uint32 { return unsafe.Slice((*uint32)(at), length) }
func Bytes(at unsafe.Pointer, length uint32) []byte   { return unsafe.Slice((*byte)(at), length) }

// End gives back what the call needed: the host has read the answer.
func End() {
	pin.Unpin()
	clear(keep)
	keep = keep[:0]
}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(uintptr(align))
	}
	block := make([]uint64, (size+7)/8)
	keep = append(keep, block)
	at := unsafe.Pointer(unsafe.SliceData(block))
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(at), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return at
}
