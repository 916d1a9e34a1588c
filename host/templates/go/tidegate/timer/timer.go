// Package timer lets a plugin act as time goes by.
package timer

import (
	"time"

	"rule/tidegate"
)

var run func(out *tidegate.Out) error

// Every calls tick again and again. An error is logged, and what was sent before it leaves.
func Every[S any](every func(settings *S) time.Duration, tick func(out *tidegate.Out, settings *S) error) {
	tidegate.TickEvery = func() time.Duration { return every(tidegate.Settings[S]()) }
	run = func(out *tidegate.Out) error { return tick(out, tidegate.Settings[S]()) }
}
