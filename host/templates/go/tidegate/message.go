package tidegate

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Message is one message. Its slices are the host's: copy what outlives the call.
type Message struct {
	Topic   []byte
	Payload []byte
	// Key is the device ({device} in the flow's topics, or what the flow's `key` says).
	Key string
	// ReceivedUs is when it came, microseconds since 1970; may jump.
	ReceivedUs uint64
	// RunningUs is when it came, microseconds the gateway has run: for durations, also in state.
	RunningUs uint64

	headers []byte
	marks   uint32
	object  map[string]any
}

const (
	markRetain, markDuplicate, markReplayed, markClockUnset = 1, 2, 4, 8
	markExcused                                             = 64
)

var errEmpty = errors.New("payload is empty")

// missing is no sign of a device gone mad: it does not count for its quarantine.
type missing struct{ words string }

func (m missing) Error() string { return m.words }

func (m *Message) Retain() bool     { return m.marks&markRetain != 0 }
func (m *Message) Duplicate() bool  { return m.marks&markDuplicate != 0 }
func (m *Message) Replayed() bool   { return m.marks&markReplayed != 0 }
func (m *Message) ClockUnset() bool { return m.marks&markClockUnset != 0 }
func (m *Message) QoS() uint8       { return uint8(m.marks >> 4 & 3) }

// Headers are the message's MQTT 5 user properties, and those of the host, whose names begin with a colon.
func (m *Message) Headers() map[string]string {
	found, block := map[string]string{}, m.headers
	next := func() string {
		length := 2 + int(binary.LittleEndian.Uint16(block))
		text := string(block[2:length])
		block = block[length:]
		return text
	}
	for len(block) > 0 {
		name := next()
		found[name] = next()
	}
	return found
}

// JSON reads the payload; its error rejects the message.
func (m *Message) JSON(into any) error {
	if len(m.Payload) == 0 {
		return errEmpty
	}
	if err := json.Unmarshal(m.Payload, into); err != nil {
		return fmt.Errorf("payload is not the JSON expected: %w", err)
	}
	return nil
}

// Field is a field of a JSON object by its path, "battery.volts"; nil when it is not there.
func (m *Message) Field(path string) (any, error) {
	if m.object == nil {
		if len(m.Payload) == 0 {
			return nil, errEmpty
		}
		if err := json.Unmarshal(m.Payload, &m.object); err != nil || m.object == nil {
			return nil, errors.New("payload is not a JSON object")
		}
	}
	var value any = m.object
	for _, name := range strings.Split(path, ".") {
		object, isObject := value.(map[string]any)
		if !isObject {
			return nil, nil
		}
		value = object[name]
	}
	return value, nil
}

// Need is the same, where it has to be there; null is no value.
func (m *Message) Need(path string) (any, error) {
	value, err := m.Field(path)
	if err == nil && value == nil {
		err = missing{fmt.Sprintf("field `%s` is missing", path)}
	}
	return value, err
}

// Number is a field that has to be a number.
func (m *Message) Number(path string) (float64, error) {
	value, err := m.Need(path)
	if err != nil {
		return 0, err
	}
	number, isNumber := value.(float64)
	if !isNumber {
		shown, _ := json.Marshal(value)
		return 0, fmt.Errorf("field `%s` is not a number: `%.60s`", path, shown)
	}
	return number, nil
}
