//go:build wasip1

package tidegate

import (
	"errors"
	"unsafe"

	"rule/tidegate/abi"
)

//go:wasmimport tidegate:plugin/log@0.1.0 log
func importLog(level uint32, at unsafe.Pointer, length uint32)

//go:wasmimport tidegate:plugin/metrics@0.1.0 counter
func importCounter(at unsafe.Pointer, length uint32, add uint64)

//go:wasmimport tidegate:plugin/metrics@0.1.0 gauge
func importGauge(at unsafe.Pointer, length uint32, value float64)

//go:wasmimport tidegate:plugin/clock@0.1.0 now-us
func importNow() uint64

//go:wasmimport tidegate:plugin/clock@0.1.0 running-us
func importRunning() uint64

// The time that Go has: the adapter's, which is told it once a call.
//
//go:wasmimport wasi_snapshot_preview1 tidegate_now
func setNow(us uint64) int32

func init() {
	hostLog = func(level uint32, text string) {
		importLog(level, unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
	}
	hostCounter = func(name string, add uint64) {
		importCounter(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), add)
	}
	hostGauge = func(name string, value float64) {
		importGauge(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), value)
	}
	hostNow, hostRunning = importNow, importRunning
}

const oneLaneBit = 1 << 31

//go:wasmexport tidegate:plugin/transform@0.1.0#configure
func exportConfigure(text unsafe.Pointer, length uint32) unsafe.Pointer {
	answer := abi.Area()
	err := errors.New("the plugin calls neither tidegate.Filter nor tidegate.Transform in an init function")
	every := uint64(0)
	if configure != nil {
		err = Protect(func() error {
			err := configure(abi.Bytes(text, length))
			if err == nil && TickEvery != nil {
				every = uint64(TickEvery().Microseconds())
			}
			return err
		})
	}
	if err != nil {
		abi.U8(0, 1)
		abi.Text(8, err.Error())
		return answer
	}
	version := StateVersion
	if oneLane {
		version |= oneLaneBit
	}
	abi.Texts(8, ports)
	abi.U64(16, every)
	abi.U32(24, version)
	return answer
}

//go:wasmexport cabi_post_tidegate:plugin/transform@0.1.0#configure
func endConfigure(unsafe.Pointer) { abi.End() }

var out Out

// Begin is a call that answers with messages; Done its answer.
func Begin(nowUs uint64, input uint32) *Out {
	setNow(nowUs)
	out = Out{input: input, words: out.words[:0], data: out.data[:0]}
	return &out
}

func Done() unsafe.Pointer {
	answer := abi.Area()
	abi.U32(0, stride)
	abi.List(4, unsafe.Pointer(unsafe.SliceData(out.words)), len(out.words))
	abi.List(12, unsafe.Pointer(unsafe.SliceData(out.data)), len(out.data))
	return answer
}

//go:wasmexport tidegate:plugin/transform@0.1.0#process
func exportProcess(nowUs uint64, step uint32, wordsAt unsafe.Pointer, count uint32, dataAt unsafe.Pointer, size uint32) unsafe.Pointer {
	out := Begin(nowUs, 0)
	words, data := abi.Words(wordsAt, count), abi.Bytes(dataAt, size)
	whole := uint32(0)
	for w := uint32(0); w < count; w += step {
		whole += words[w] + words[w+1] + words[w+2]
	}
	keys := data[whole:]
	for ; len(words) >= int(step); words = words[step:] {
		topic, headers, payload := words[0], words[0]+words[1], words[0]+words[1]+words[2]
		from := words[3] & 0xffff
		m := Message{
			Topic: data[:topic:topic], headers: data[topic:headers:headers], Payload: data[headers:payload:payload],
			Key: string(data[from : from+words[3]>>16]), ReceivedUs: uint64(words[5])<<32 | uint64(words[4]), marks: words[6],
		}
		if step > 8 {
			m.RunningUs = uint64(words[8])<<32 | uint64(words[7])
		}
		if step > 9 && words[9] > 0 {
			m.Key, keys = string(keys[:words[9]]), keys[words[9]:]
		}
		out.message = &m
		kept, length := len(out.words), len(out.data)
		if err := Protect(func() error { return process(&m, out) }); err != nil {
			out.words, out.data = out.words[:kept], out.data[:length]
			if errors.Is(err, errEmpty) && m.Retain() {
				out.Pass()
			} else {
				out.reject(err)
			}
		}
		data = data[payload:]
		out.input++
	}
	out.message = nil
	return Done()
}

//go:wasmexport cabi_post_tidegate:plugin/transform@0.1.0#process
func endProcess(unsafe.Pointer) { abi.End() }

// NoInput is what a timer's outputs come from.
const NoInput = noInput
