package main

import (
	"rule/tidegate"
	"rule/tidegate/state"
)

type Settings struct{}

type Counted struct {
	Device string `json:"device"`
	Count  int    `json:"count"`
}

var counts = state.Of[int]()

// Counts the messages of each device.
func process(message *tidegate.Message, out *tidegate.Out, _ *Settings) error {
	count := counts.At(message.Key)
	*count++
	return out.EmitJSON(Counted{message.Key, *count})
}

func init() { tidegate.Transform(process) }
func main() {}
