package tidegate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	actionPass, actionEmit, actionAbsorb, actionReject = 0, 1, 2, 3

	noInput = 0xffffffff
	stride  = 8
)

// Out says what becomes of the message at hand. Saying nothing filters it; an error rejects it.
type Out struct {
	input   uint32
	message *Message
	words   []uint32
	data    []byte
}

// Draft is a message of your own. What is left out is empty; the key is that of the message at hand. A timer's needs topic and key.
type Draft struct {
	Topic, Key, Port string
	Payload          []byte
	// JSON is the payload where Payload is nil.
	JSON    any
	Headers map[string]string
	Retain  bool
}

func (o *Out) push(action, port uint32, topic string, headers, body []byte, marks uint32, key string) {
	o.words = append(o.words, o.input, action|port<<16, uint32(len(topic)), uint32(len(headers)), uint32(len(body)), 0, marks, uint32(len(key)))
	o.data = append(append(append(append(o.data, topic...), headers...), body...), key...)
}

// Pass lets it go on as it is.
func (o *Out) Pass() { o.push(actionPass, 0, "", nil, nil, o.message.marks, "") }

// Absorb says that it went into state.
func (o *Out) Absorb() { o.push(actionAbsorb, 0, "", nil, nil, o.message.marks, "") }

// Emit sends a new payload on under the message's topic, key, headers and marks.
func (o *Out) Emit(payload []byte) {
	o.push(actionEmit, 0, "", o.message.headers, payload, o.message.marks, "")
}

// EmitJSON is Emit with a payload made of value.
func (o *Out) EmitJSON(value any) error {
	payload, err := encode(value)
	if err == nil {
		o.Emit(payload)
	}
	return err
}

// Send sends a message of your own.
func (o *Out) Send(draft Draft) error {
	port := uint32(0)
	if draft.Port != "" && draft.Port != "out" {
		for i, name := range ports {
			if name == draft.Port {
				port = uint32(i + 1)
			}
		}
		if port == 0 {
			return fmt.Errorf("no port `%s` was declared", draft.Port)
		}
	}
	if o.message == nil && draft.Topic == "" {
		return errors.New("what a timer sends needs a topic")
	}
	body := draft.Payload
	if body == nil {
		var err error
		if body, err = encode(draft.JSON); err != nil {
			return err
		}
	}
	var headers []byte
	if o.message != nil && len(o.message.headers) > 0 {
		for name, value := range o.message.Headers() {
			if name == "traceparent" || name == "tracestate" {
				headers = withLength(withLength(headers, name), value)
			}
		}
	}
	for name, value := range draft.Headers {
		headers = withLength(withLength(headers, name), value)
	}
	marks := uint32(1 << 4)
	if draft.Retain {
		marks |= markRetain
	}
	o.push(actionEmit, port, draft.Topic, headers, body, marks, draft.Key)
	return nil
}

func (o *Out) reject(err error) {
	marks := o.message.marks
	if errors.As(err, &missing{}) {
		marks |= markExcused
	}
	o.push(actionReject, 0, "", nil, []byte(err.Error()), marks, "")
}

func withLength(headers []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint16(headers, uint16(len(text))), text...)
}

// encode is json.Marshal without its care for browsers.
func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), err
}
