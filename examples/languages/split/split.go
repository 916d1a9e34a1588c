package main

import (
	"errors"
	"fmt"

	"rule/tidegate"
)

type Settings struct{}

// One message with several readings becomes one for each.
func process(message *tidegate.Message, out *tidegate.Out, _ *Settings) error {
	found, err := message.Need("readings")
	if err != nil {
		return err
	}
	readings, isList := found.([]any)
	if !isList {
		return errors.New("field `readings` is not a list")
	}
	for _, one := range readings {
		reading, _ := one.(map[string]any)
		name, hasName := reading["name"].(string)
		if !hasName {
			return errors.New("a reading has no name")
		}
		topic := fmt.Sprintf("devices/%s/%s", message.Key, name)
		if err := out.Send(tidegate.Draft{Topic: topic, JSON: map[string]any{"value": reading["value"]}}); err != nil {
			return err
		}
	}
	return nil
}

func init() { tidegate.Transform(process) }
func main() {}
