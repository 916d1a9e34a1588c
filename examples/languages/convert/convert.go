package main

import (
	"fmt"

	"rule/tidegate"
)

type Settings struct{}

// A reading in JSON and °C becomes a line of text in °F.
func process(message *tidegate.Message, out *tidegate.Out, _ *Settings) error {
	celsius, err := message.Number("temperature")
	if err != nil {
		return err
	}
	humidity, err := message.Number("humidity")
	if err != nil {
		return err
	}
	out.Emit(fmt.Appendf(nil, "%s;%.1f;%.1f", message.Key, celsius*1.8+32, humidity))
	return nil
}

func init() { tidegate.Transform(process) }
func main() {}
