// Package tidegate is what a Tidegate plugin in Go is made with: it hides the words and bytes of the contract. Nothing in it is
// yours to change; `tidegate plugin new` brings the one that fits its gateway.
//
// A plugin says in an init function what it does; its main is empty.
package tidegate

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"time"
)

var (
	ports     []string
	oneLane   bool
	settings  any
	configure func(text []byte) error
	process   func(m *Message, out *Out) error

	// TickEvery and StateVersion are set by the packages timer and state.
	TickEvery    func() time.Duration
	StateVersion uint32 = 1
)

// Ports declares ports beside `out`.
func Ports(names ...string) { ports = names }

// OneLane says that state is kept under other keys than the messages' own.
func OneLane() { oneLane = true }

// Transform turns each message into none, one or many. S is a struct: each of its fields is a setting; a pointer is an optional one.
func Transform[S any](rule func(m *Message, out *Out, settings *S) error) {
	configure = func(text []byte) error {
		given := new(S)
		if err := read(text, given); err != nil {
			return err
		}
		settings = given
		return nil
	}
	process = func(m *Message, out *Out) error { return rule(m, out, settings.(*S)) }
}

// Filter keeps or drops.
func Filter[S any](keep func(m *Message, settings *S) (bool, error)) {
	Transform(func(m *Message, out *Out, settings *S) error {
		isKept, err := keep(m, settings)
		if err == nil && isKept {
			out.Pass()
		}
		return err
	})
}

// Settings are those that the plugin was given.
func Settings[S any]() *S { return settings.(*S) }

// Duration is a setting as in "10m".
type Duration time.Duration

// UnmarshalJSON reads what time.ParseDuration does, and days.
func (d *Duration) UnmarshalJSON(text []byte) error {
	var words string
	if err := json.Unmarshal(text, &words); err != nil {
		return fmt.Errorf("%s is not a time as in \"10m\"", text)
	}
	if days, isDays := strings.CutSuffix(words, "d"); isDays {
		if number, err := strconv.ParseFloat(days, 64); err == nil {
			*d = Duration(number * 24 * float64(time.Hour))
			return nil
		}
	}
	parsed, err := time.ParseDuration(words)
	*d = Duration(parsed)
	if err != nil || parsed < 0 {
		return fmt.Errorf("%s is not a time as in \"10m\"", text)
	}
	return nil
}

func read(text []byte, into any) error {
	given, value := map[string]json.RawMessage{}, reflect.ValueOf(into).Elem()
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			name = field.Name
		}
		one, isThere := given[name]
		delete(given, name)
		if !isThere {
			if field.Type.Kind() == reflect.Pointer {
				continue
			}
			return fmt.Errorf("`%s` is missing", name)
		}
		err := json.Unmarshal(one, value.Field(i).Addr().Interface())
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			return fmt.Errorf("`%s` is not a %s: %s", name, wrong.Type, one)
		}
		if err != nil {
			return fmt.Errorf("`%s`: %w", name, err)
		}
	}
	for name := range given {
		return fmt.Errorf("unknown setting `%s`", name)
	}
	return nil
}

// Protect turns a panic into an error that says where it was: Go's own dump of all goroutines says it less clearly.
func Protect(work func() error) (err error) {
	defer func() {
		what := recover()
		if what == nil {
			return
		}
		where := ""
		callers := make([]uintptr, 16)
		frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
		for frame, more := frames.Next(); more; frame, more = frames.Next() {
			if !strings.HasPrefix(frame.Function, "runtime.") {
				where = fmt.Sprintf(" (%s:%d)", frame.File[strings.LastIndexByte(frame.File, '/')+1:], frame.Line)
				break
			}
		}
		err = fmt.Errorf("panic: %v%s", what, where)
	}()
	return work()
}

// Host is the gateway: its log, numbers and clock.
var Host = host{}

type host struct{}

var (
	hostLog     = func(level uint32, text string) {}
	hostCounter = func(name string, add uint64) {}
	hostGauge   = func(name string, value float64) {}
	hostNow     = func() uint64 { return 0 }
	hostRunning = func() uint64 { return 0 }
)

func (host) Error(text string)                { hostLog(0, text) }
func (host) Warn(text string)                 { hostLog(1, text) }
func (host) Info(text string)                 { hostLog(2, text) }
func (host) Counter(name string, add uint64)  { hostCounter(name, add) }
func (host) Gauge(name string, value float64) { hostGauge(name, value) }

// NowUs is microseconds since 1970; may jump.
func (host) NowUs() uint64 { return hostNow() }

// RunningUs is microseconds the gateway has run.
func (host) RunningUs() uint64 { return hostRunning() }
